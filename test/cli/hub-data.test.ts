/** Commands with datasets on the hub in place of files: the same results, pinned, and refusals with exit code 2. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { readCache } from "../../src/align/cache/file.ts";
import { withHub } from "../../src/cli/flags/hub.ts";
import { SweepFile } from "../../src/cli/sweep/file.ts";
import { fetchedSweep } from "../../src/cli/sweep/hub.ts";
import type { Io } from "../../src/cli/verb.ts";
import { testDevice } from "../support/device.ts";
import { COMMIT, hubServer } from "../support/hub-server.ts";
import { cli, flags, type Outcome, vbon } from "../support/run-cli.ts";
import { letterReward, tinyLm } from "../support/tiny-lm.ts";
import { scratch, TINY } from "../support/training.ts";

const device = await testDevice();
const folder = scratch();
const policy = join(folder, "model");
await tinyLm(device, policy);
const reward = letterReward(folder);

const WORDS =
  "the cat sat on a mat and the dog ran to a tree so that we saw it go by the big red house".split(" ");
const words = (i: number, n: number): string =>
  Array.from({ length: n }, (_, j) => WORDS[(i * 7 + j * 5) % WORDS.length]).join(" ");
const lines = (records: readonly object[]): Buffer =>
  Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(""));
const parquet = (columns: Readonly<Record<string, readonly (string | number)[]>>): Buffer =>
  Buffer.from(
    parquetWriteBuffer({
      columnData: Object.entries(columns).map(([name, data]) => ({ name, data: [...data] })),
    }),
  );
const texts = (from: number): string[] => Array.from({ length: 12 }, (_, i) => words(from + i, 14));

const server = await hubServer(
  new Map([
    ["README.md", Buffer.from("# tiny")],
    ["prompts/train-00000-of-00002.jsonl", lines([{ prompt: "the cat" }, { prompt: "a dog" }])],
    ["prompts/train-00001-of-00002.jsonl", lines([{ prompt: "the big tree" }])],
    ["prompts/test.jsonl", lines([{ prompt: "so we saw" }])],
    ["texts/train-0.parquet", parquet({ text: texts(0) })],
    ["texts/train-1.parquet", parquet({ text: texts(12) })],
    ["texts/test-0.parquet", parquet({ text: texts(24) })],
    ["broken/train.jsonl", lines([{ prompt: "the cat" }, { response: "x" }])],
    [
      "labelled.csv",
      Buffer.from(
        `text,label\n${texts(0)
          .map((text, i) => `${text},${i % 2}`)
          .join("\n")}\n`,
      ),
    ],
  ]),
  "datasets",
);
const imdb = await hubServer(
  new Map([
    ["plain_text/train-00000-of-00001.parquet", parquet({ text: texts(0), label: texts(0).map(() => 1) })],
    ["plain_text/test-00000-of-00001.parquet", parquet({ text: texts(40), label: texts(0).map(() => 0) })],
    ["plain_text/unsupervised-00000-of-00001.parquet", parquet({ text: texts(80) })],
  ]),
  "datasets",
  "stanfordnlp/imdb",
);
const post = { title: "a", post: "the cat sat" };
const tldr = await hubServer(
  new Map(
    ["train", "validation", "test"].map((split, i) => [
      `data/${split}-00000-of-00001-1028f23e353fbe3e.parquet`,
      parquet({
        subreddit: ["relationships", `dogs${i}`],
        title: [post.title, "b"],
        post: [post.post, "we saw it"],
      }),
    ]),
  ),
  "datasets",
  "vwxyzjn/summarize_from_feedback_tldr_3_filtered",
);
afterAll(async () => {
  for (const one of [server, imdb, tldr]) await one.close();
  await device.close();
});
beforeEach(() => {
  vi.stubEnv("HF_ENDPOINT", server.url);
  vi.stubEnv("HF_HUB_CACHE", scratch());
  vi.stubEnv("HF_HUB_OFFLINE", undefined);
  vi.stubEnv("HF_TOKEN", undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
  for (const key of Object.keys(server.faults)) delete server.faults[key as keyof typeof server.faults];
});

const NAME = "hf://datasets/owner/tiny";
const PINNED = `${NAME}@${COMMIT}`;
type Settings = Parameters<typeof flags>[0];
const run = (verb: string, settings: Settings): Promise<Outcome> => vbon(device, [verb, ...flags(settings)]);
const base = { policy, reward, samples: 2, maxNewTokens: 4 };
const cached = async (out: string, settings: Settings): Promise<string[]> => {
  const path = join(folder, out);
  const { code, stderr } = await run("cache", { ...base, out: path, ...settings });
  expect(code, stderr).toBe(0);
  return [...(await readCache(path)).entries.values()].map(({ prompt }) => prompt);
};

describe("a cache", () => {
  it("of prompts in shards is that of the same prompts in a file, by split, by pattern, and offline", async () => {
    const file = join(folder, "train.jsonl");
    writeFileSync(file, lines([{ prompt: "the cat" }, { prompt: "a dog" }, { prompt: "the big tree" }]));
    const undated = (out: string): string =>
      readFileSync(join(folder, out), "utf8").replace(/"created":"[^"]*"/, "");
    expect(await cached("local.out", { prompts: file })).toHaveLength(3);
    await cached("hub.out", { prompts: `${NAME}/prompts` });
    expect(undated("hub.out")).toBe(undated("local.out"));
    expect(await cached("test.out", { prompts: `${NAME}/prompts`, split: "test" })).toEqual(["so we saw"]);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await cached("offline.out", { prompts: `${NAME}@main/prompts/train-*.jsonl` });
    expect(undated("offline.out")).toBe(undated("local.out"));
  });

  it("of documents takes them from Parquet", async () => {
    expect(
      await cached("documents.out", { documents: `${NAME}/texts`, promptTokens: 3, count: 5 }),
    ).toHaveLength(5);
  });

  it("of the paper's prompts fetches them, unless a file is given", async () => {
    const begins = (prompts: readonly string[], of: readonly string[]): boolean =>
      prompts.every((prompt) => of.some((text) => text.startsWith(prompt)));
    vi.stubEnv("HF_ENDPOINT", imdb.url);
    const train = await cached("imdb-train.out", { preset: "imdb", count: 6 });
    const test = await cached("imdb-test.out", { preset: "imdb", split: "test", count: 6 });
    expect([begins(train, texts(0)), begins(test, texts(40))]).toEqual([true, true]);
    const asked = imdb.log.length;
    const file = join(folder, "own.jsonl");
    writeFileSync(file, lines([{ prompt: "the cat" }]));
    expect(await cached("own.out", { preset: "imdb", prompts: file })).toEqual(["the cat"]);
    expect(imdb.log).toHaveLength(asked);
    vi.stubEnv("HF_ENDPOINT", tldr.url);
    expect(await cached("tldr.out", { preset: "tldr", distribution: "out", split: "validation" })).toEqual([
      "SUBREDDIT: r/dogs1\n\nTITLE: b\n\nPOST: we saw it\n\nTL;DR:",
    ]);
  });
});

it("sft learns from shards, and resumes on the commit that it began with", async () => {
  const out = join(folder, "sft");
  const began = await vbon(device, ["sft", ...TINY, "--data", `${NAME}/texts`, "--steps", 2, "--out", out]);
  expect(began.code, began.stderr).toBe(0);
  expect(began.stderr).toContain(`${NAME}/texts: ${PINNED}/texts/train-*.parquet`);
  const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as Record<string, unknown>;
  expect(config["data"]).toBe(`${PINNED}/texts/train-*.parquet`);
  expect(readFileSync(join(out, "model", "README.md"), "utf8")).toContain(
    `--data '${PINNED}/texts/train-*.parquet'`,
  );
  server.faults.status = 500;
  const resumed = await vbon(device, ["sft", "--resume", "--out", out]);
  expect(resumed.code, resumed.stderr).toBe(0);
  const other = await vbon(device, ["sft", "--resume", "--out", out, "--data", `${NAME}/prompts`]);
  expect([other.code, other.stderr]).toEqual([2, expect.stringContaining("leave --data out")]);
});

it("score, generate and reward take them too", async () => {
  const scored = await run("score", { model: policy, input: `${NAME}/texts`, split: "test" });
  expect([scored.code, scored.stdout.trim().split("\n").length], scored.stderr).toEqual([0, 12]);
  const drawn = await run("generate", {
    model: policy,
    prompts: `${NAME}/prompts`,
    maxNewTokens: 2,
    json: true,
  });
  expect([drawn.code, drawn.stdout.trim().split("\n").length], drawn.stderr).toEqual([0, 3]);
  const learned = await vbon(device, [
    "reward",
    ..."--layers 1 --dim 16 --heads 2 --vocab 280 --block 16 --batch 4 --steps 2".split(" "),
    ..."--test-fraction 0.25 --validation-fraction 0.25".split(" "),
    "--data",
    `${NAME}/labelled.csv`,
    "--out",
    join(folder, "rm"),
  ]);
  expect(learned.code, learned.stderr).toBe(0);
});

it("a download that Ctrl-C stopped goes on where it was", async () => {
  const argv = ["score", ...flags({ model: policy, input: `${NAME}/texts/train-0.parquet` })];
  server.faults.slow = 50; // between the five pieces of a file
  const blobs = join(process.env["HF_HUB_CACHE"]!, "datasets--owner--tiny", "blobs");
  const stopping = new AbortController();
  const watch = setInterval(() => {
    const begun =
      existsSync(blobs) && readdirSync(blobs).some((name) => statSync(join(blobs, name)).size > 0);
    if (begun) stopping.abort();
  }, 1);
  const stopped = await cli(argv, { device, signal: stopping.signal });
  clearInterval(watch);
  expect([stopped.code, stopped.stderr]).toEqual([
    130,
    expect.stringContaining("train-0.parquet: stopped; the next try goes on there"),
  ]);
  server.faults.slow = 0;
  server.log.length = 0;
  const scored = await vbon(device, argv);
  expect(scored.code, scored.stderr).toBe(0);
  expect(server.log.filter((line) => line.includes("train-0"))).toEqual([
    expect.stringMatching(/train-0\.parquet bytes=[1-9]\d*-$/),
  ]);
});

describe("refused, with exit code 2, are", () => {
  const [prompts, out] = [`${NAME}/prompts`, join(folder, "none.out")];
  it.each<[string, Settings, RegExp]>([
    [
      "an unknown dataset",
      { prompts: "hf://datasets/owner/none" },
      /no such dataset or revision at .* \(404\)/,
    ],
    [
      "an unknown revision",
      { prompts: `${NAME}@v9/prompts` },
      /tiny@v9: there is no such dataset or revision/,
    ],
    ["half an address", { prompts: "hf://datasets/tiny" }, /expected hf:\/\/datasets\/OWNER\/NAME/],
    [
      "an unknown split",
      { prompts, split: "dev" },
      /no files of the split "dev"; it has prompts\/train-\*-of-00002\.jsonl, prompts\/test/,
    ],
    ["several sets of files", { prompts: NAME }, /several sets of files of the split "train"/],
    [
      "a line of a shard",
      { prompts: `${NAME}/broken` },
      /snapshots\/0123.*\/broken\/train\.jsonl:2: expected \{"prompt"\}/,
    ],
    ["no cache, offline", { prompts }, /HF_HUB_OFFLINE is set, and it is not whole in the cache/],
    ["a closed one", { prompts }, /refuses access \(401\).*set HF_TOKEN/],
  ])("%s", async (what, settings, message) => {
    if (what.includes("offline")) vi.stubEnv("HF_HUB_OFFLINE", "1");
    if (what.includes("closed")) server.faults.token = "secret";
    const { code, stderr } = await run("cache", { ...base, out, ...settings });
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
    expect(stderr).not.toContain("    at ");
  });

  it("a split of a file", async () => {
    const input = join(folder, "texts.jsonl");
    writeFileSync(input, lines([{ text: "the cat" }]));
    for (const file of [input, `${NAME}/texts/test-0.parquet`]) {
      const { code, stderr } = await run("score", { model: policy, input: file, split: "test" });
      expect([code, stderr]).toEqual([
        2,
        expect.stringMatching(/--split test chooses among the files of a dataset/),
      ]);
    }
  });
});

describe("settings", () => {
  const notes: string[] = [];
  const io = {
    note: (text: string) => void notes.push(text),
    progress: () => ({ update() {}, stop() {} }),
    signal: new AbortController().signal,
  } as unknown as Io;

  it("of a sweep are fetched before it is planned", async () => {
    const file = SweepFile.parse({
      caches: { train: { prompts: `${NAME}/prompts` }, test: { prompts: `${NAME}/prompts`, split: "test" } },
      align: { policy: "runs/stories/model", cache: "train", evalCache: "test" },
      runs: [{ n: [2, 4] }],
    });
    expect(await fetchedSweep(file, io)).toEqual({
      ...file,
      caches: {
        train: { prompts: `${PINNED}/prompts/train-*-of-00002.jsonl` },
        test: { prompts: `${PINNED}/prompts/test.jsonl` },
      },
    });
  });

  it("of reward caches are single files", async () => {
    const { cache } = await withHub({ cache: `${NAME}/prompts/test.jsonl` }, io);
    expect(readFileSync(String(cache), "utf8")).toContain("so we saw");
    await expect(withHub({ westOf: `${NAME}/prompts` }, io)).rejects.toThrow(
      /is 2 files; expected a reward cache/,
    );
  });

  it("keep a split that has chosen nothing", async () => {
    const file = `${NAME}/prompts/test.jsonl`;
    expect(await withHub({ prompts: file, split: "test" }, io)).toEqual({
      prompts: `${PINNED}/prompts/test.jsonl`,
      split: "test",
    });
    expect(await withHub({ prompts: `${NAME}/prompts`, split: "test" }, io)).not.toHaveProperty("split");
    expect(await withHub({ prompts: "local.jsonl", n: 3 }, io)).toEqual({ prompts: "local.jsonl", n: 3 });
    const both = await withHub({ data: `${NAME}/texts`, evalData: `${NAME}/texts` }, io);
    expect(both["data"]).toMatch(/texts\/train-/);
    expect(both["evalData"]).toMatch(/texts\/test-0/);
  });
});
