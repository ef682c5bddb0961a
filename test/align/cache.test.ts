import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCacheWriter, readCache } from "../../src/align/cache/file.ts";
import {
  cacheEntry,
  type CacheEntry,
  type CacheHeader,
  cacheWarnings,
  checkCacheSettings,
  entryCdf,
  limitSamples,
  promptIdOf,
} from "../../src/align/cache/cache.ts";
import { ConfigError, FormatError } from "../../src/errors.ts";

const header: CacheHeader = {
  format: "vbon-cache",
  version: 1,
  model: "tiny",
  modelHash: "abc",
  reward: "length",
  temperature: 1,
  topK: 0,
  topP: 1,
  maxNewTokens: 8,
  stop: "",
  seed: 1,
  m: 3,
  dtype: "f32",
  created: "2025-01-01T00:00:00Z",
};
const entry = (ids: number[], rewards: number[]): CacheEntry => ({
  promptId: promptIdOf(ids),
  prompt: `p${ids.join("-")}`,
  promptIds: ids,
  rewards,
});
const a = entry([1, 2], [0.5, -1, 2]);
const b = entry([3], [7, 8, 9]);

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vbon-cache-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function written(name: string, ...entries: CacheEntry[]): Promise<string> {
  const path = join(folder, name);
  const writer = await openCacheWriter(path, header);
  for (const each of entries) await writer.append(each);
  await writer.close();
  return path;
}

describe("cache file", () => {
  it("reads back what was written, scores in order of generation", async () => {
    const full = {
      ...b,
      lengths: [1, 2, 8],
      finished: [true, true, false],
      responses: ["x", "y", "z"],
      responseIds: [[1], [2, 0], [3, 3]],
    };
    const cache = await readCache(await written("plain.jsonl", a, full));
    expect(cache.header).toEqual(header);
    expect([...cache.entries.values()]).toEqual([a, full]);
  });

  it("keeps the first maxSamples exactly", async () => {
    const many = entry(
      [9],
      Array.from({ length: 301 }, (_, i) => 300 - i),
    );
    const path = await written("many.jsonl", { ...many, lengths: many.rewards.map(() => 4) });
    const [kept] = (await readCache(path, { maxSamples: 300 })).entries.values();
    expect(kept?.rewards).toEqual(many.rewards.slice(0, 300));
    expect(kept?.lengths?.length).toBe(300);
    await expect(readCache(path, { maxSamples: 0 })).rejects.toThrow(/maxSamples is 0/);
  });

  it("resumes after a kill in the middle of a line", async () => {
    const path = await written("torn.jsonl", a);
    await appendFile(path, JSON.stringify(b).slice(0, 40));
    const writer = await openCacheWriter(path, { ...header, created: "later" }, { resume: true });
    expect([writer.has(a.promptId), writer.has(b.promptId)]).toEqual([true, false]);
    await writer.append(b);
    await expect(writer.append(a)).rejects.toThrow(/in the cache already/);
    await writer.close();
    expect(await readFile(path, "utf8")).toBe([header, a, b].map((x) => `${JSON.stringify(x)}\n`).join(""));
  });

  it("is written by one at a time, and a refusal leaves nothing", async () => {
    const path = join(folder, "shared.jsonl");
    const writer = await openCacheWriter(path, header);
    const second = openCacheWriter(path, header, { resume: true });
    await expect(second).rejects.toThrow(`${path}: is in use by this process already; wait for it`);
    await writer.append(a);
    await writer.close();
    await expect(openCacheWriter(path, { ...header, seed: 99 }, { resume: true })).rejects.toThrow("seed");
    await (await openCacheWriter(path, header, { resume: true })).close();
    expect((await readdir(folder)).filter((name) => name.startsWith("shared"))).toEqual(["shared.jsonl"]);
  });

  it("does not overwrite, nor resume with other settings", async () => {
    const path = await written("settings.jsonl", a);
    await expect(openCacheWriter(path, header)).rejects.toThrow(/exists already/);
    const other = { ...header, temperature: 0.7, maxNewTokens: 16 };
    const resumed = openCacheWriter(path, other, { resume: true });
    await expect(resumed).rejects.toThrow(
      /temperature: cache 1, here 0.7\n {2}maxNewTokens: cache 8, here 16/,
    );
    await expect(resumed).rejects.toThrow(ConfigError);
  });

  it("names file and line of what is malformed", async () => {
    const path = join(folder, "bad.jsonl");
    const check = async (lines: unknown[], message: RegExp): Promise<void> => {
      await writeFile(path, lines.map((x) => (typeof x === "string" ? x : JSON.stringify(x))).join("\n"));
      await expect(readCache(path)).rejects.toThrow(message);
      await expect(readCache(path)).rejects.toThrow(FormatError);
    };
    await check(
      [header, { ...a, rewards: [1, null] }],
      /bad\.jsonl:2: not a line of a reward cache[^]*rewards\[1\]/,
    );
    await check([header, { ...a, finished: [true] }], /finished has 1 entries for 3 rewards/);
    await check([header, { ...a, promptIds: [5] }], /is not the hash/);
    await check([header, a, a], /:3: repeats the prompt "p1-2"/);
    await check([header, "{"], /:2/);
    await check([{ ...header, version: 2 }], /:1: not a line/);
    await check([""], /is empty/);
  });

  it("reads the released code's sentiment file: one sample a line", async () => {
    const path = join(folder, "sentiment.jsonl");
    const line = (prompt: string, response: string, reward: number): string =>
      JSON.stringify({ prompt, text: prompt + response, reward });
    await writeFile(path, [line("A", " good", 2), line("B", " bad", -1), line("A", " fine", 1)].join("\n"));
    const cache = await readCache(path);
    const found = cacheEntry(cache, { ids: [1], text: "A" });
    expect([found.rewards, found.responses]).toEqual([
      [2, 1],
      [" good", " fine"],
    ]);
    expect(cache.header).toBeUndefined();
    expect(() => checkCacheSettings(cache, { temperature: 1 })).toThrow(/no header/);
  });

  it("reads the released code's summarisation file: one prompt a line", async () => {
    const path = join(folder, "tldr.jsonl");
    await writeFile(path, `${JSON.stringify({ prompt: " POST\n", rewards: [3, 1] })}\n`);
    expect(cacheEntry(await readCache(path), { ids: [], text: "POST" }).rewards).toEqual([3, 1]);
  });
});

describe("cache in memory", () => {
  const cache = { header, entries: new Map([a, b].map((each) => [each.promptId, each])) };

  it("trap 29: finds prompts by their ids, in any order, and names an unknown one", () => {
    expect(cacheEntry(cache, { ids: [3], text: "whatever" })).toBe(b);
    const reversed = { header, entries: new Map([b, a].map((each) => [each.promptId, each])) };
    expect(entryCdf(cacheEntry(reversed, { ids: [1, 2], text: "" })).at(1).below).toBe(2);
    expect(() => cacheEntry(cache, { ids: [2, 1], text: "who?" })).toThrow(
      /no scores for the prompt "who\?"/,
    );
  });

  it("trap 30: lists every differing setting with both values", () => {
    expect(() => checkCacheSettings(cache, { temperature: 1, maxNewTokens: 8 })).not.toThrow();
    expect(() => checkCacheSettings(cache, { modelHash: "abd", topP: 0.9 })).toThrow(
      /modelHash: cache "abc", here "abd"\n {2}topP: cache 1, here 0.9/,
    );
  });

  it("takes endings and tie-break keys from the entry", () => {
    const tied = { ...a, rewards: [1, 1, 1], finished: [true, false, true], responseIds: [[1], [2], [3]] };
    expect(entryCdf(tied, { missingEos: "bottom" }).at(1).below).toBe(1);
    const keyed = entryCdf(tied, { ties: "total-order", keys: tied.responseIds });
    expect([[0], [2], [4]].map((key) => keyed.at(1, { key }).below)).toEqual([0, 1, 3]);
  });

  it("warns of too large an n, of few samples and of ties", () => {
    expect(cacheWarnings(cache, 8).join("\n")).toMatch(/n = 8 exceeds the 3[^]*M = 3/);
    const large = {
      header,
      entries: new Map([
        [
          "x",
          entry(
            [1],
            Array.from({ length: 64 }, (_, i) => i),
          ),
        ],
      ]),
    };
    expect(cacheWarnings(large, 8)).toEqual([]);
    expect(limitSamples(large, 4).entries.get("x")?.rewards).toEqual([0, 1, 2, 3]);
  });
});
