/** Datasets from the hub, against a local server: which files come, where they lie, and all that can go wrong. */
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { readDocuments, readExamples, readTexts } from "../../src/data/datasets/dataset.ts";
import { type FetchedDataset, fetchDataset, hubDataset } from "../../src/data/datasets/hub.ts";
import { titleOf } from "../../src/data/hub/client.ts";
import { COMMIT, hubServer, leave, pointAt } from "../support/hub-server.ts";
import { collect, temporaryFolder } from "./support.ts";

const digits = (of: string): string => createHash("sha256").update(of).digest("hex");
/** Does not compress well. */
const text = (part: string, i: number): string => `${part} ${i}: ${digits(`${part} ${i}`)}`;
function parquet(part: string, rows: number): Buffer {
  const data = Array.from({ length: rows }, (_, i) => text(part, i));
  return Buffer.from(parquetWriteBuffer({ columnData: [{ name: "text", data }], rowGroupSize: 20 }));
}
const jsonl = (part: string, rows: number): Buffer =>
  Buffer.from(
    Array.from({ length: rows }, (_, i) => `${JSON.stringify({ text: text(part, i) })}\n`).join(""),
  );

const files = new Map([
  [".gitattributes", Buffer.from("*.parquet filter=lfs")],
  ["README.md", Buffer.from("# tiny")],
  ["data/test-00000-of-00001.parquet", parquet("test", 5)],
  ["data/train-00000-of-00002.parquet", parquet("first", 60)],
  ["data/train-00001-of-00002.parquet", parquet("second", 60)],
  ["lines/train 1.jsonl", jsonl("a", 30)],
  ["lines/train 2.jsonl", jsonl("b", 30)],
]);
const server = await hubServer(files, "datasets");
afterAll(() => server.close());

const NAME = "hf://datasets/owner/tiny";
const PINNED = `${NAME}@${COMMIT}`;
let cache: string;
beforeEach(() => {
  cache = temporaryFolder();
  pointAt(server, cache);
});
afterEach(() => leave(server));

const get = (spec: string, split?: string): Promise<FetchedDataset> => fetchDataset(hubDataset(spec), split);
const folder = (...parts: string[]): string => join(cache, "datasets--owner--tiny", ...parts);
const asked = (): string[] =>
  server.log.flatMap((line) => (line.includes("/resolve/") ? [line.split(`${COMMIT}/`)[1]!] : []));

describe("a dataset", () => {
  it("is fetched in the layout of the Python tools: what is wanted of it, and not twice", async () => {
    const found = await get(`${NAME}/data`);
    expect(found).toEqual({
      address: `${PINNED}/data/train-*-of-00002.parquet`,
      files: [0, 1].map((i) => folder("snapshots", COMMIT, "data", `train-0000${i}-of-00002.parquet`)),
      bySplit: true,
    });
    expect(lstatSync(found.files[0]!).isSymbolicLink()).toBe(true);
    expect(readFileSync(found.files[1]!).equals(files.get("data/train-00001-of-00002.parquet")!)).toBe(true);
    expect(readFileSync(folder("refs", "main"), "utf8")).toBe(COMMIT);
    expect(readdirSync(folder("blobs"))).toHaveLength(2);
    expect(asked()).toHaveLength(2);
    expect(await get(`${NAME}/data`, "train")).toEqual(found);
    expect(asked()).toHaveLength(2);
    await get(`${NAME}/data`, "test");
    expect(asked()).toHaveLength(3);
  });

  it("is read by its address, shard after shard, and by nothing else", async () => {
    const { address } = await get(`${NAME}/data`);
    const texts = (await collect(readTexts(address, "text"))).map((row) => row.text.split(":")[0]);
    expect(texts).toEqual(
      ["first", "second"].flatMap((part) => Array.from({ length: 60 }, (_, i) => `${part} ${i}`)),
    );
    const lines = await get(`${NAME}/lines/*.jsonl`);
    expect(lines).toMatchObject({ address: `${PINNED}/lines/train *.jsonl`, bySplit: false });
    expect(await collect(readDocuments(lines.address))).toHaveLength(60);
    expect((await collect(readExamples(lines.address))).at(-1)).toMatchObject({
      where: `${lines.files[1]}:30`,
    });
    await expect(collect(readTexts(`${NAME}/data`, "text"))).rejects.toThrow(
      /is not in the cache .*fetch it first/,
    );
    await expect(collect(readTexts(`${PINNED}/data/test*.parquet`, "text"))).rejects.toThrow(
      /fetch it first/,
    );
  });

  it("asks nobody for a commit that it has, works offline, and is the same data then", async () => {
    const { address } = await get(`${NAME}/data`);
    server.log.length = 0;
    expect((await get(address)).address).toBe(address);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await get(`${NAME}/data`)).address).toBe(address);
    expect(server.log).toEqual([]);
    const unfetched = /HF_HUB_OFFLINE is set, and it is not whole in the cache \(.*datasets--owner--tiny\)/;
    await expect(get(`${NAME}/data`, "test")).rejects.toThrow(unfetched);
    rmSync(folder("snapshots", COMMIT, "data", "train-00001-of-00002.parquet"));
    await expect(get(`${NAME}/data`)).rejects.toThrow(unfetched);
    await expect(get("hf://datasets/owner/other")).rejects.toThrow(/HF_HUB_OFFLINE is set/);
  });

  it("that another program fetched is known offline by the names of its files alone", async () => {
    mkdirSync(folder("refs"), { recursive: true });
    writeFileSync(folder("refs", "main"), COMMIT);
    mkdirSync(folder("snapshots", COMMIT), { recursive: true });
    writeFileSync(folder("snapshots", COMMIT, "train.jsonl"), '{"text":"theirs"}\n');
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    const { address } = await get(`${NAME}/train.jsonl`);
    expect(await collect(readDocuments(address))).toEqual(["theirs"]);
    await expect(get(NAME)).rejects.toThrow(/not whole in the cache/);
  });

  it("is what was fetched before where the hub does not answer", async () => {
    const { address } = await get(`${NAME}/data`);
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9");
    const notes: string[] = [];
    const again = await fetchDataset(hubDataset(`${NAME}/data`), undefined, {
      onNote: (note) => notes.push(note),
    });
    expect(again.address).toBe(address);
    expect(notes.join()).toMatch(/does not answer.*using what was fetched before/);
    await expect(get("hf://datasets/owner/other")).rejects.toThrow(
      /other@main: http.* does not answer .*check the network/,
    );
  });

  it("is fetched anew where its branch has moved to other files", async () => {
    const part = "data/train-00001-of-00002.parquet";
    const saved = files.get(part)!;
    await get(`${NAME}/data`);
    files.delete(part);
    files.set("data/train_more.parquet", saved);
    try {
      await expect(get(`${NAME}/data`)).rejects.toThrow(/several sets of files of the split "train"/);
    } finally {
      files.delete("data/train_more.parquet");
      files.set(part, saved);
    }
    expect((await get(`${NAME}/data`)).files).toHaveLength(2);
  });

  it("has revisions, the hub's conversion among them", async () => {
    expect((await get(`${NAME}@v1/data`)).address).toContain(COMMIT);
    expect((await get(`${NAME}@~parquet/data/test*.parquet`)).files).toHaveLength(1);
    expect(server.log.some((line) => line.includes("/revision/refs%2Fconvert%2Fparquet?"))).toBe(true);
    await expect(get(`${NAME}@v2/data`)).rejects.toThrow(
      /tiny@v2: there is no such dataset or revision at .*404/,
    );
  });
});

describe("a download that", () => {
  const shard = files.get("data/train-00000-of-00002.parquet")!;
  const hash = createHash("sha256").update(shard).digest("hex");

  it("breaks is taken up where it broke", async () => {
    server.faults.cutAt = 1500;
    await get(`${NAME}/data`);
    expect(asked()[1]).toBe("data/train-00000-of-00002.parquet bytes=1500-");
    expect(readFileSync(folder("blobs", hash)).equals(shard)).toBe(true);
  });

  it("a killed process began is taken up as well, and names are quoted", async () => {
    mkdirSync(folder("blobs"), { recursive: true });
    writeFileSync(folder("blobs", `${hash}.incomplete`), shard.subarray(0, 1200));
    await get(`${NAME}/data`);
    expect(asked()[0]).toBe("data/train-00000-of-00002.parquet bytes=1200-");
    files.set("lines/12:30#?.jsonl", jsonl("c", 1));
    try {
      await get(`${NAME}/lines`);
      expect(asked().at(-1)).toBe("lines/train%202.jsonl");
      const odd = await get(`${NAME}/lines/12:30#?.jsonl`);
      expect(await collect(readDocuments(odd.address))).toHaveLength(1);
      expect(asked().at(-1)).toBe("lines/12%3A30%23%3F.jsonl");
    } finally {
      files.delete("lines/12:30#?.jsonl");
    }
  });

  it("brings other bytes is refused, and nothing of it kept", async () => {
    server.faults.corrupt = true;
    await expect(get(`${NAME}/data`)).rejects.toThrow(
      /owner\/tiny\/data\/train-00000.* expected \d+ bytes of hash/,
    );
    expect(readdirSync(folder("blobs"))).toEqual([]);
    expect(existsSync(folder("refs", "main"))).toBe(false);
  });
});

describe("refused are", () => {
  it.each([
    "../evil.jsonl",
    "/etc/train.jsonl",
    "a/../../train.jsonl",
    "C:\\train.jsonl",
    "a\\..\\train.jsonl",
  ])("a listed file named %j", async (rfilename) => {
    server.faults.extra = [{ rfilename, blobId: "a".repeat(40), size: 3 }];
    await expect(get(NAME)).rejects.toThrow("outside the dataset's folder; nothing was fetched");
    expect(readdirSync(cache)).toEqual([]);
  });

  it("what leaves open which files are meant", async () => {
    await expect(get(NAME)).rejects.toThrow(
      /tiny@main: has several sets of files of the split "train": data\/train-\*-of-00002\.parquet, lines\/train \*\.jsonl/,
    );
    expect(asked()).toEqual([]);
  });

  it("a dataset that is not there, or not open", async () => {
    await expect(get("hf://datasets/owner/other")).rejects.toThrow(
      /^hf:\/\/datasets\/owner\/other@main: there is no such dataset or revision at .*\(404\)/,
    );
    server.faults.token = "secret";
    await expect(get(`${NAME}/data`)).rejects.toThrow(
      /refuses access \(401\): there is no such dataset, or it is private or gated; set HF_TOKEN/,
    );
    vi.stubEnv("HF_TOKEN", "wrong");
    await expect(get(`${NAME}/data`)).rejects.toThrow(
      /HF_TOKEN does not open it; a gated one asks you to accept its terms/,
    );
    vi.stubEnv("HF_TOKEN", "secret");
    expect((await get(`${NAME}/data`)).files).toHaveLength(2);
    server.faults.status = 403;
    await expect(get(`${NAME}@v1/data`)).rejects.toThrow(/tiny@v1: .* refuses access \(403\)/);
  });

  it.each([
    "hf://datasets/",
    "hf://datasets/owner",
    "hf://datasets/owner/",
    "hf://datasets/owner/na--me",
    "hf://datasets/owner/name@",
    "hf://datasets/owner/name@../x",
    "hf://datasets/owner/name/../../x",
    "hf://datasets/../name",
  ])("%s", (spec) => {
    expect(() => hubDataset(spec)).toThrow(/expected hf:\/\/datasets\/OWNER\/NAME/);
  });
});

it("takes an address apart, and puts it together", () => {
  const parts = (spec: string): readonly string[] => {
    const { repo, path } = hubDataset(spec);
    return [repo.name, repo.revision, path];
  };
  const again = (spec: string): string => titleOf(hubDataset(spec).repo);
  for (const spec of ["o/n@main", "o/n@a%2Fb", "o/n@refs/pr/3", "o/n@refs/convert/parquet"])
    expect(again(`hf://datasets/${spec}/d/e.csv`)).toBe(`hf://datasets/${spec}`);
  expect(parts("hf://datasets/o/n")).toEqual(["o/n", "main", ""]);
  expect(parts("hf://datasets/o/n/")).toEqual(["o/n", "main", ""]);
  expect(parts("hf://datasets/o/n.x@v1.0/a b/c@d.csv")).toEqual(["o/n.x", "v1.0", "a b/c@d.csv"]);
  expect(parts("hf://datasets/o/n@refs/pr/3/a.csv")).toEqual(["o/n", "refs/pr/3", "a.csv"]);
  expect(parts("hf://datasets/o/n@refs%2Fconvert%2Fparquet/d/")).toEqual([
    "o/n",
    "refs/convert/parquet",
    "d",
  ]);
  expect(parts("hf://datasets/o/n@~parquet/d/*.parquet")).toEqual([
    "o/n",
    "refs/convert/parquet",
    "d/*.parquet",
  ]);
});
