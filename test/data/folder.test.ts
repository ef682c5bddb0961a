/** The three places that files are read from: what each answers, and how it fails. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { findFirst, type Folder, folderAt, locate } from "../../src/data/folder.ts";
import { jsonOf, textOf } from "../../src/data/reader.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { openWeights } from "../../src/data/weights/open.ts";
import { loadTokenizer, trainTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../src/errors.ts";
import { fileServer } from "../support/file-server.ts";
import { formatErrorOf, temporaryFolder } from "./support.ts";

const BLOCK = 1 << 23;
const folder = temporaryFolder();
writeFileSync(join(folder, "config.json"), '{"a": "zwölf"}');
writeFileSync(join(folder, "empty"), "");
writeFileSync(join(folder, "page.bin"), "<!doctype html><title>Sign in</title>");
const large = Uint8Array.from({ length: 2 * BLOCK + 100 }, (_, i) => (i * 7 + (i >> 12)) & 255);
writeFileSync(join(folder, "large"), large);

const server = await fileServer(folder);
afterAll(() => server.close());
beforeEach(() => {
  for (const key of Object.keys(server.faults)) delete server.faults[key as keyof typeof server.faults];
  server.log.length = 0;
});
const web = (): Promise<Folder> => folderAt(server.url);

describe.each([
  ["a path", folder],
  ["a file: URL", new URL(`file://${folder}`)],
  ["an address", server.url],
  ["an address as a text, without its last slash", server.url.href.slice(0, -1)],
  [
    "files by name",
    Object.fromEntries(
      ["config.json", "empty", "large"].map((name) => [name, new Blob([readFileSync(join(folder, name))])]),
    ),
  ],
])("%s", (_, place) => {
  it("has the files that are there, with their sizes and bytes", async () => {
    const files = await folderAt(place);
    const config = await files.open("config.json");
    expect(await jsonOf(config)).toEqual({ a: "zwölf" });
    expect([config.name, config.path]).toEqual(["config.json", files.at("config.json")]);
    expect(await textOf(await files.open("empty"))).toBe("");
    expect(await files.find("none")).toBeUndefined();
    expect((await findFirst(files, ["none", "empty"]))?.size).toBe(0);
    const file = await files.open("large");
    expect(file.size).toBe(large.length);
    for (const [length, position] of [
      [10, 0],
      [100, BLOCK - 50],
      [100, 2 * BLOCK],
      [BLOCK + 20, BLOCK - 10],
    ] as const) {
      const into = new Uint8Array(length);
      await file.read(into, position);
      expect(Buffer.compare(into, large.subarray(position, position + length))).toBe(0);
    }
  });

  it("says what is missing, and where a file ends", async () => {
    const files = await folderAt(place);
    expect(await formatErrorOf(files.open("none"))).toMatch(/none: (expected|no such file)/);
    const small = await files.open("config.json");
    expect(await formatErrorOf(small.read(new Uint8Array(20), 5))).toContain(
      "config.json: expected 20 bytes at 5, the file ends after 10; it is truncated",
    );
  });
});

describe("over HTTP", () => {
  it("asks for a large file's blocks once each, while they are kept", async () => {
    const file = await (await web()).open("large");
    for (let position = 0; position < large.length; position += 1 << 20)
      await file.read(new Uint8Array(100), position);
    expect(server.log).toEqual([
      `/large bytes=0-${BLOCK - 1}`,
      `/large bytes=${BLOCK}-${2 * BLOCK - 1}`,
      `/large bytes=${2 * BLOCK}-${large.length - 1}`,
    ]);
  });

  it.each([{ noRanges: true }, { hidesSize: true }])(
    "takes the whole file where it must: %o",
    async (faults) => {
      Object.assign(server.faults, faults);
      const file = await (await web()).open("large");
      const into = new Uint8Array(100);
      await file.read(into, 2 * BLOCK);
      expect(Buffer.compare(into, large.subarray(2 * BLOCK))).toBe(0);
      expect(server.log.length).toBeLessThanOrEqual(2);
    },
  );

  it.each([
    [{ status: 401 }, /config\.json: expected a file, got HTTP status 401; it is not open to everyone/],
    [{ status: 403 }, /HTTP status 403; it is not there, or not open/],
    [{ status: 404 }, /HTTP status 404; there is no such file; check the address/],
    [{ status: 500 }, /HTTP status 500; try again later/],
    [{ cuts: true }, /config\.json: expected 15 bytes, the connection ended before \(.+\); load it again/],
    [{ short: 3 }, /config\.json: expected 15 bytes from 0, got 12; load it again/],
  ])("is one error: %o", async (faults, message) => {
    Object.assign(server.faults, faults);
    expect(await formatErrorOf((await web()).open("config.json"))).toMatch(message);
  });

  it("knows a page of HTML from a file, by its type and by its beginning", async () => {
    server.faults.pages = true;
    const files = await web();
    expect(await files.find("none")).toBeUndefined();
    expect(await formatErrorOf(files.open("none"))).toContain("none: expected a file, got a page of HTML");
    expect(await formatErrorOf(locate(new URL("page.bin", server.url)))).toContain("resolve/main/");
  });

  it("is told when a file changes, or the server gives up, in the middle", async () => {
    server.faults.changesAt = BLOCK;
    const file = await (await web()).open("large");
    expect(await formatErrorOf(file.read(new Uint8Array(9), BLOCK))).toContain(
      `got HTTP status 206 and bytes from ${BLOCK} of ${large.length + 1}; the file changed`,
    );
    server.faults.status = 503;
    expect(await formatErrorOf(file.read(new Uint8Array(9), 2 * BLOCK))).toContain("got HTTP status 503");
  });

  it("says that nobody answers", async () => {
    const nobody = await folderAt(new URL("http://127.0.0.1:9/model"));
    expect(await formatErrorOf(nobody.find("config.json"))).toMatch(
      /^http:\/\/127\.0\.0\.1:9\/model\/config\.json: expected a file, got no answer \(.*\); check the address/,
    );
  });

  it("leads to no other server, whatever a checkpoint calls its files", async () => {
    const files = await web();
    expect(files.at("data:,x")).toBe(`${server.url.href}data%3A%2Cx`);
    expect(files.at("//elsewhere/x")).toBe(`${server.url.href}%2F%2Felsewhere%2Fx`);
  });
});

describe("what is no place", () => {
  it("is one error", async () => {
    expect(await formatErrorOf(openWeights("/no/such"))).toBe(
      "/no/such: no such file or folder; check the path",
    );
    expect(await formatErrorOf(openSafetensors({}))).toContain("files: expected model.safetensors");
    expect(await formatErrorOf(folderAt(join(folder, "empty")))).toContain("expected a folder, got a file");
    await expect(locate(undefined as never)).rejects.toThrow(ConfigError);
    await expect(locate({ "config.json": "{}" } as never)).rejects.toThrow(
      /expected a path, an address \(a URL\) or files by name, got config\.json: string/,
    );
  });
});

describe("a tokenizer of files by name", () => {
  it("is learnt from texts, given as files, and loaded from them", async () => {
    const texts = ["the cat and the dog and the cat"];
    const learnt = await trainTokenizer(texts, { vocabSize: 262 });
    const again = await loadTokenizer(learnt.files());
    expect(learnt.vocabSize).toBe(262);
    expect(again.encode("the cat ü")).toEqual(learnt.encode("the cat ü"));
    expect(again.eosId).toBe(learnt.eosId);
    await learnt.save(join(folder, "saved"));
    expect(await learnt.files()["tokenizer.json"]!.text()).toBe(
      readFileSync(join(folder, "saved/tokenizer.json"), "utf8"),
    );
  });
});
