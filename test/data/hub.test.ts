/** Models from the hub, against a local server: the cache's layout, resuming, and all that can go wrong. */
import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fetchModel, hubName } from "../../src/data/hub/model.ts";
import { cli } from "../support/run-cli.ts";
import { COMMIT, hubServer, leave, pointAt } from "../support/hub-server.ts";
import { scratch } from "../support/training.ts";

const weights = Buffer.from(Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i)).buffer);
const files = new Map([
  ["config.json", Buffer.from('{"model_type":"llama"}')],
  ["tokenizer.json", Buffer.from("{}")],
  ["model.safetensors", weights],
  ["pytorch_model.bin", Buffer.alloc(3000, 1)],
  ["README.md", Buffer.from("# tiny")],
  ["onnx/model.onnx", Buffer.alloc(2000, 2)],
]);
const server = await hubServer(files);
afterAll(() => server.close());

const main = { name: "owner/tiny", revision: "main" };
let cache: string;
beforeEach(() => {
  cache = scratch();
  pointAt(server, cache);
});
afterEach(() => leave(server));

const model = (...parts: string[]): string => join(cache, "models--owner--tiny", ...parts);
const asked = (): string[] =>
  server.log.flatMap((line) => (line.includes("/resolve/") ? [line.split(`${COMMIT}/`)[1]!] : []));

it("fetches what a model needs, in the layout of the Python tools, and not twice", async () => {
  const folder = await fetchModel(main);
  expect(folder).toBe(model("snapshots", COMMIT));
  expect(readdirSync(folder).toSorted()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
  expect(readFileSync(join(folder, "model.safetensors")).equals(weights)).toBe(true);
  const link = join(folder, "model.safetensors");
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(readlinkSync(link)).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
  expect(readFileSync(model("refs", "main"), "utf8")).toBe(COMMIT);
  expect(readdirSync(model("blobs"))).toHaveLength(3);
  const before = asked().length;
  expect(await fetchModel(main)).toBe(folder);
  expect(asked()).toHaveLength(before);
});

it("asks nobody for a commit that it has, and works offline after the first time", async () => {
  await fetchModel(main);
  server.log.length = 0;
  await fetchModel({ ...main, revision: COMMIT });
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  await fetchModel(main);
  expect(server.log).toEqual([]);
  vi.stubEnv("HF_HUB_CACHE", scratch());
  await expect(fetchModel(main)).rejects.toThrow(
    /HF_HUB_OFFLINE is set, and it is neither a folder here nor in/,
  );
});

it("uses what it has where the hub does not answer, and says so", async () => {
  const folder = await fetchModel(main);
  vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9");
  const notes: string[] = [];
  expect(await fetchModel(main, { onNote: (text) => notes.push(text) })).toBe(folder);
  expect(notes.join()).toMatch(/does not answer.*using what was fetched before/);
  vi.stubEnv("HF_HUB_CACHE", scratch());
  await expect(fetchModel(main)).rejects.toThrow(/owner\/tiny@main: there is no such folder here, and http/);
});

it("takes shards and torch's weights where there is nothing better", async () => {
  const saved = files.get("model.safetensors")!;
  files.delete("model.safetensors");
  try {
    await fetchModel(main);
    expect(asked()).toContain("pytorch_model.bin");
    files.set("model-00001-of-00002.safetensors", saved);
    files.set("model-00002-of-00002.safetensors", Buffer.alloc(1500, 3));
    files.set("model.safetensors.index.json", Buffer.from("{}"));
    vi.stubEnv("HF_HUB_CACHE", scratch());
    expect(readdirSync(await fetchModel(main)).filter((name) => name.startsWith("model"))).toHaveLength(3);
  } finally {
    for (const name of [...files.keys()].filter((key) => key.startsWith("model"))) files.delete(name);
    files.set("model.safetensors", saved);
  }
});

describe("a connection that", () => {
  it("is slow shows how far it is", async () => {
    server.faults.slow = 5;
    const seen: number[] = [];
    await fetchModel(main, { onProgress: (file, done) => file === "model.safetensors" && seen.push(done) });
    expect(seen.at(-1)).toBe(weights.length);
    expect(seen.length).toBeGreaterThan(1);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  });

  it("breaks is taken up where it broke", async () => {
    server.faults.cutAt = 4000;
    const folder = await fetchModel(main);
    expect(readFileSync(join(folder, "model.safetensors")).equals(weights)).toBe(true);
    const ranges = asked().filter((line) => line.startsWith("model.safetensors"));
    expect(ranges[1]).toBe("model.safetensors bytes=4000-");
  });

  it("breaks for good leaves its beginning to the next process, and knows servers without ranges", async () => {
    server.faults.slow = 400;
    const wanted = { idle: 150 };
    await expect(fetchModel(main, wanted)).rejects.toThrow(/does not answer|connection broke/);
    expect(existsSync(model("snapshots", COMMIT, "model.safetensors"))).toBe(false);
    delete server.faults.slow;
    server.faults.cutAt = 6000;
    await fetchModel(main).catch(() => undefined);
    const blob = createHash("sha256").update(weights).digest("hex");
    vi.stubEnv("HF_HUB_CACHE", (cache = scratch()));
    delete server.faults.cutAt;
    await fetchModel(main);
    // As a killed process leaves it.
    renameSync(model("blobs", blob), model("blobs", "moved"));
    writeFileSync(model("blobs", `${blob}.incomplete`), weights.subarray(0, 7000));
    rmSync(model("blobs", "moved"));
    server.log.length = 0;
    await fetchModel(main);
    expect(asked()).toEqual(["model.safetensors bytes=7000-"]);
    renameSync(model("blobs", blob), model("blobs", `${blob}.incomplete`));
    writeFileSync(model("blobs", `${blob}.incomplete`), weights.subarray(0, 9000));
    server.faults.noRanges = true;
    const folder = await fetchModel(main);
    expect(readFileSync(join(folder, "model.safetensors")).equals(weights)).toBe(true);
  });

  it("brings other bytes is refused, and nothing of it kept", async () => {
    server.faults.corrupt = true;
    await expect(fetchModel(main)).rejects.toThrow(
      /owner\/tiny\/model\.safetensors: expected 20000 bytes of hash [0-9a-f]{64}, got 20000 of [0-9a-f]{64}/,
    );
    expect(readdirSync(model("blobs")).filter((name) => name.length >= 64)).toEqual([]);
    expect(existsSync(model("refs", "main"))).toBe(false);
  });
});

describe("refusals, with exit code 2", () => {
  const generate = (name = "owner/tiny") => cli(["generate", "--model", name, "--prompt", "x"]);

  it.each(["../evil", "/etc/evil", "a/../../evil", "C:\\evil", "a\\..\\evil", ""])(
    "a listed file named %j",
    async (rfilename) => {
      server.faults.extra = [{ rfilename, blobId: "a".repeat(40), size: 3 }];
      const { code, stderr } = await generate();
      expect([code, stderr]).toEqual([2, expect.stringContaining("outside the model's folder")]);
      expect(readdirSync(cache)).toEqual([]);
    },
  );

  it("a hash that is a path", async () => {
    server.faults.extra = [{ rfilename: "vocab.json", blobId: "../../evil", size: 3 }];
    await expect(fetchModel(main)).rejects.toThrow("no hash and size of vocab.json");
  });

  it("401 without a token, with a wrong one, and none with the right one", async () => {
    server.faults.token = "secret";
    const without = await generate();
    expect([without.code, without.stderr]).toEqual([
      2,
      expect.stringMatching(/refuses access \(401\).*set HF_TOKEN/),
    ]);
    vi.stubEnv("HF_TOKEN", "wrong");
    expect((await generate()).stderr).toMatch(/the token in HF_TOKEN does not open it/);
    expect((await generate()).stderr).not.toContain("wrong");
    vi.stubEnv("HF_TOKEN", "secret");
    await fetchModel(main);
  });

  it("404, an endpoint that is no hub, a revision that is none", async () => {
    const { code, stderr } = await generate("owner/other");
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/no such folder here, and no such model or revision/),
    ]);
    await expect(fetchModel({ ...main, revision: "v2" })).rejects.toThrow(/owner\/tiny@v2: .*404/);
    server.faults.status = 503;
    expect((await generate()).stderr).toMatch(/answers 503; try again later/);
  });
});

it("tells names from paths", () => {
  expect(hubName("owner/na.me-2")).toEqual({ name: "owner/na.me-2", revision: "main" });
  expect(hubName("owner/name@refs/pr/1")).toEqual({ name: "owner/name", revision: "refs/pr/1" });
  for (const path of [
    "name",
    "./a/b",
    "../b",
    "/a/b",
    "a/b/c",
    "a/b.mjs",
    "a/b@../c",
    "a/..",
    "a/b@c@d",
    "lexicon:vader",
  ])
    expect(hubName(path), path).toBeUndefined();
});
