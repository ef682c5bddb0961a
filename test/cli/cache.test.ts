/** `vbon cache`: what it writes, that nothing computed is lost, and that other settings are refused. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { readCache } from "../../src/align/cache/file.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { testDevice } from "../support/device.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";
import { letterReward, promptFile, tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-cache-"));
const policy = join(folder, "model");
await tinyLm(device, policy);
const prompts = promptFile(folder, 6);
const reward = letterReward(folder);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});
afterEach(() => {
  delete process.env["NAN_AT"];
});

type Settings = Parameters<typeof flags>[0];
/** Two prompts side by side; the reward is called for each prompt. */
const base = { policy, reward, prompts, samples: 8, rows: 16, maxNewTokens: 6, seed: 5 };
const run = (out: string, settings: Settings = {}): Promise<Outcome> =>
  vbon(device, ["cache", ...flags({ ...base, out: join(folder, out), ...settings })]);
const read = (out: string): string => readFileSync(join(folder, out), "utf8");
/** All but the date of the header. */
const undated = (text: string): string => text.replace(/"created":"[^"]*"/, '"created":""');

describe("a cache", () => {
  it("holds M scored samples a prompt, and tells what they cost", async () => {
    const { code, stdout } = await run("whole.jsonl", { json: true });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      done: 6,
      asked: 6,
      prompts: 6,
      samples: 48,
      tieRate: expect.any(Number),
      samplesPerSecond: expect.any(Number),
      secondsPerSample: expect.any(Number),
    });
    const { header, entries } = await readCache(join(folder, "whole.jsonl"));
    expect(header).toMatchObject({
      format: "vbon-cache",
      model: "model",
      reward: expect.stringMatching(/^letter\.mjs@[0-9a-f]{8}$/),
      temperature: 1,
      maxNewTokens: 6,
      seed: 5,
      m: 8,
    });
    for (const { rewards, responses, responseIds, logprobs } of entries.values()) {
      expect([rewards.length, responseIds!.length]).toEqual([8, 8]);
      expect(rewards).toEqual(responses!.map((text) => (text.split("e").length - 1) / (1 + text.length)));
      expect(logprobs!.every((l) => l < 0)).toBe(true);
    }
  });

  it("is the same however many rows are decoded side by side", async () => {
    await run("narrow.jsonl", { rows: 3 });
    expect(undated(read("narrow.jsonl"))).toBe(undated(read("whole.jsonl")));
  });

  it("draws what `vbon generate` draws", async () => {
    const { stdout } = await vbon(device, [
      "generate",
      ...flags({ model: policy, prompts, samples: 8, maxNewTokens: 6, seed: 5, json: true }),
    ]);
    const ids = stdout
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { ids: number[] }).ids);
    const { entries } = await readCache(join(folder, "whole.jsonl"));
    expect([...entries.values()].flatMap((e) => e.responseIds)).toEqual(ids);
  });

  it("ends responses where --stop says, remembers it, and counts them as ended", async () => {
    const { code } = await run("stopped.jsonl", { stop: "a" });
    expect(code).toBe(0);
    const { header, entries } = await readCache(join(folder, "stopped.jsonl"));
    expect(header!.stop).toBe("a");
    const tokenizer = await loadTokenizer(policy);
    const says = (ids: number[]): boolean => tokenizer.decode(ids).includes("a");
    const all = [...entries.values()].flatMap(({ responseIds, finished }) =>
      responseIds!.map((ids, i) => ({ ids, finished: finished![i]! })),
    );
    const stopped = all.filter(({ ids }) => says(ids));
    expect(stopped.length).toBeGreaterThan(0);
    for (const { ids, finished } of stopped)
      expect([finished, says(ids.slice(0, -1))]).toEqual([true, false]);
    expect((await run("stopped.jsonl")).stderr).toMatch(/stop: cache "a", here ""/);
  });

  it("takes prompts from documents: train and test do not meet", async () => {
    const documents = join(folder, "documents.txt");
    const words = (i: number): string => `${i} and the dog ran to a tree so that we saw it`;
    writeFileSync(documents, Array.from({ length: 12 }, (_, i) => words(i)).join("<|endoftext|>\n"));
    const cut = { prompts: undefined, documents, promptTokens: "3-5", count: 4 };
    await run("train.jsonl", cut);
    await run("test.jsonl", { ...cut, skip: 4 });
    const [train, test] = [
      await readCache(join(folder, "train.jsonl")),
      await readCache(join(folder, "test.jsonl")),
    ];
    expect([train.entries.size, test.entries.size]).toEqual([4, 4]);
    expect([...train.entries.keys()].filter((id) => test.entries.has(id))).toEqual([]);
    const lengths = [...train.entries.values()].map((e) => e.promptIds.length);
    expect(lengths.every((n) => n >= 3 && n <= 5)).toBe(true);
    expect((await run("more.jsonl", { ...cut, skip: 10 })).stderr).toMatch(
      /has \d+ prompts; --skip 10 and --count 4 asks for more/,
    );
  });

  it("warns of ties and of too few samples for the N in mind", async () => {
    const { stderr } = await run("whole.jsonl", { n: 100 });
    expect(stderr).toMatch(/warning: n = 100 exceeds the 8 cached samples/);
    expect(stderr).toMatch(/warning: M = 8, .* tied pairs: the pooled estimator/);
  });
});

describe("resuming", () => {
  it("is complete wherever the file was cut off", async () => {
    const whole = read("whole.jsonl");
    const first = whole.indexOf("\n") + 1;
    const cuts = [
      first,
      first + 1,
      Math.floor(whole.length / 3),
      whole.indexOf("\n", first),
      whole.indexOf("\n", first) + 1,
      whole.length - 1,
    ];
    for (const cut of cuts) {
      writeFileSync(join(folder, "cut.jsonl"), whole.slice(0, cut));
      const { code } = await run("cut.jsonl");
      expect({ cut, code }).toEqual({ cut, code: 0 });
      expect(read("cut.jsonl") === whole, `cut at byte ${cut} of ${whole.length}`).toBe(true);
    }
  });

  it("draws nothing where all is there", async () => {
    const before = read("whole.jsonl");
    const { code, stderr, stdout } = await run("whole.jsonl", { json: true });
    expect(code).toBe(0);
    expect(stderr).toMatch(/6 of 6 prompts are there already/);
    expect(JSON.parse(stdout)).not.toHaveProperty("samplesPerSecond");
    expect(read("whole.jsonl")).toBe(before);
  });

  it("refuses other settings, names them, and leaves the file alone", async () => {
    const before = read("whole.jsonl");
    for (const [settings, message] of [
      [{ temperature: 0.7 }, /temperature: cache 1, here 0\.7/],
      [{ samples: 9 }, /m: cache 8, here 9/],
      [{ seed: 6 }, /seed: cache 5, here 6/],
      [{ stop: "\\n" }, /stop: cache "", here "\\n"/],
      [{ reward: "lexicon:vader" }, /reward: cache "letter\.mjs@[0-9a-f]+", here "lexicon:vader"/],
    ] as const) {
      const { code, stderr } = await run("whole.jsonl", settings);
      expect(code).toBe(2);
      expect(stderr).toMatch(/whole\.jsonl: made with other settings/);
      expect(stderr).toMatch(message);
    }
    expect(read("whole.jsonl")).toBe(before);
  });

  it("keeps what came before a reward that is not a number", async () => {
    process.env["NAN_AT"] = "2";
    const fresh = letterReward(folder, "nan.mjs");
    const { code, stderr } = await run("nan.jsonl", { reward: fresh });
    expect(code).toBe(2);
    expect(stderr).toMatch(/the score of ".*" is NaN; expected a finite number/);
    delete process.env["NAN_AT"];
    expect((await readCache(join(folder, "nan.jsonl"))).entries.size).toBe(1);
    expect((await run("nan.jsonl", { reward: fresh })).code).toBe(0);
    const rest = (text: string): string => text.slice(text.indexOf("\n"));
    expect(rest(read("nan.jsonl"))).toBe(rest(read("whole.jsonl")));
  });

  it("stops at Ctrl-C between prompts, and continues", async () => {
    const lines = read("whole.jsonl").split("\n").slice(0, 3);
    writeFileSync(join(folder, "stopped.jsonl"), lines.map((line) => `${line}\n`).join(""));
    const argv = ["cache", ...flags({ ...base, out: join(folder, "stopped.jsonl") })];
    const { code, stderr } = await vbon(device, argv, (_text, stop) => stop());
    expect(code).toBe(130);
    expect(stderr).toMatch(
      /2 of 6 prompts are there already\nstopped after 0 of 4 prompts; the same command continues/,
    );
    expect((await run("stopped.jsonl")).code).toBe(0);
    expect(undated(read("stopped.jsonl"))).toBe(undated(read("whole.jsonl")));
  });
});

describe("wrong input", () => {
  const cases: [string, Settings, RegExp][] = [
    ["no policy", { policy: undefined }, /expected --policy DIR \(or --model DIR, the same\), got neither/],
    ["both spellings", { model: policy }, /got both/],
    ["no prompts", { prompts: undefined }, /expected --prompts FILE\.jsonl or --documents FILE/],
    [
      "a range of tokens",
      { promptTokens: "2to8" },
      /--prompt-tokens: expected a number or a range such as 2-8; got "2to8"/,
    ],
    [
      "response longer than the context",
      { maxNewTokens: 64 },
      /prompts-6\.jsonl: prompt \d has \d tokens and 64 new ones are asked for; the model's context holds 64/,
    ],
    ["unknown lexicon", { reward: "lexicon:mood" }, /unknown lexicon; the only one is lexicon:vader/],
    [
      "no reward there",
      { reward: join(folder, "none") },
      /none: no such folder or file; expected a reward model's folder, lexicon:vader, or a module's path/,
    ],
    ["language model as reward", { reward: policy }, /expected a reward model .* got a language model/],
    [
      "reward that throws",
      { reward: moduleFile("throws.mjs", "export default () => { throw new Error('no key'); }") },
      /the function threw: no key/,
    ],
    [
      "reward without a function",
      { reward: moduleFile("none.mjs", "export const x = 1;") },
      /expected a default export that is a function/,
    ],
    [
      "too few scores",
      { reward: moduleFile("few.mjs", "export default () => [1];") },
      /expected \d+ numbers, got 1/,
    ],
    ["file of another kind", { out: copyOfPrompts() }, /\.jsonl:1: not a line of a reward cache/],
  ];

  for (const [what, settings, message] of cases) {
    it(`is one message and exit code 2: ${what}`, async () => {
      const { code, stderr } = await run(`wrong-${cases.findIndex(([w]) => w === what)}.jsonl`, settings);
      expect(code).toBe(2);
      expect(stderr).toMatch(message);
      expect(stderr).not.toContain("    at ");
    });
  }

  function moduleFile(name: string, source: string): string {
    writeFileSync(join(folder, name), source);
    return join(folder, name);
  }

  function copyOfPrompts(): string {
    const path = join(folder, "foreign.jsonl");
    copyFileSync(prompts, path);
    return path;
  }
});

describe("the paper's prompts", () => {
  const header = async (out: string): Promise<object> => (await readCache(join(folder, out))).header!;
  const whole = (settings: Settings): Settings => ({
    prompts: undefined,
    maxNewTokens: undefined,
    samples: 2,
    ...settings,
  });

  it("imdb: the first 2 to 8 tokens of records, the same for the same seed", async () => {
    const documents = join(folder, "reviews.jsonl");
    const text = "the cat sat on a mat and the dog ran to a tree so that we saw it";
    writeFileSync(
      documents,
      Array.from({ length: 12 }, (_, i) => `${JSON.stringify({ review: text.slice(i) })}\n`).join(""),
    );
    const settings = whole({ preset: "imdb", documents, textField: "review", count: 8 });
    for (const out of ["imdb.jsonl", "again.jsonl"]) expect((await run(out, settings)).code).toBe(0);
    expect(undated(read("again.jsonl"))).toBe(undated(read("imdb.jsonl")));
    expect(await header("imdb.jsonl")).toMatchObject({ maxNewTokens: 40, temperature: 1 });
    const lengths = [...(await readCache(join(folder, "imdb.jsonl"))).entries.values()].map(
      ({ promptIds }) => promptIds.length,
    );
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(2);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(8);
    expect(new Set(lengths).size).toBeGreaterThan(2);
  });

  it("tldr: a temperature of 0.7, posts of one half, flags going before", async () => {
    const posts = join(folder, "posts.jsonl");
    const post = { title: "a", post: "the cat sat\non a mat" };
    const records = ["relationships", "dogs", "cats"].map((subreddit) => ({ ...post, subreddit }));
    writeFileSync(posts, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    const cut = (name: string): string => `SUBREDDIT: r/${name}\n\nTITLE: a\n\nPOST: the cat sat\n\nTL;DR:`;
    const most = (await loadTokenizer(policy)).encode(cut("dogs")).length;
    const settings = whole({
      preset: "tldr",
      prompts: posts,
      maxNewTokens: 4,
      promptMaxTokens: most,
      distribution: "out",
    });
    const { code, stderr } = await run("tldr.jsonl", settings);
    expect([code, stderr]).toEqual([0, expect.any(String)]);
    expect(await header("tldr.jsonl")).toMatchObject({ maxNewTokens: 4, temperature: 0.7 });
    const prompts = [...(await readCache(join(folder, "tldr.jsonl"))).entries.values()].map((e) => e.prompt);
    expect(prompts).toEqual([cut("dogs"), cut("cats")]);
  });
});
