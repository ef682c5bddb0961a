/** Traps of the reward cache, on the model whose strings can be enumerated. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { buildCache } from "../../src/align/cache/build.ts";
import { openCacheWriter, readCache } from "../../src/align/cache/file.ts";
import {
  type CacheHeader,
  checkCacheSettings,
  promptIdOf,
  type RewardCache,
} from "../../src/align/cache/cache.ts";
import { bonLogRatio } from "../../src/align/best-of-n/log-bon.ts";
import { resolveSettings } from "../../src/align/objectives/index.ts";
import { functionReward } from "../../src/align/rewards.ts";
import { createEngine } from "../../src/generate/engine.ts";
import { tableRun } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { expectClose } from "../support/golden.ts";
import * as table from "../support/table-model.ts";
import * as tl1 from "../support/tl1.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-traps-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
  device.close();
});

const header: CacheHeader = {
  format: "vbon-cache",
  version: 1,
  model: "tl1",
  modelHash: "",
  reward: "tl1",
  temperature: 1,
  topK: 0,
  topP: 1,
  maxNewTokens: 2,
  seed: 0,
  m: 16,
  dtype: "f32",
  created: "",
};

describe("caches", () => {
  async function built(path: string): Promise<RewardCache> {
    const engine = await createEngine(table.tableModel(device), 32, 4, table.settings);
    const writer = await openCacheWriter(path, header);
    const { tokenizer, reward } = table;
    const prompts = [table.prompt, table.longPrompt, table.prompt];
    await buildCache(prompts, writer, { engine, reward, tokenizer, seed: 0, samples: 16 });
    await writer.close();
    engine.dispose();
    return readCache(path);
  }
  it("trap 29: a prompt that is there twice is cached once", async () => {
    const cache = await built(join(folder, "twice.jsonl"));
    expect([...cache.entries.values()].map((entry) => entry.prompt)).toEqual(["", "abb"]);
  });

  it("trap 32: the cached text is what was scored: scoring it again gives the cached rewards", async () => {
    const cache = await built(join(folder, "text.jsonl"));
    for (const entry of cache.entries.values()) {
      const inputs = entry.responses!.map((response, i) => ({
        prompt: entry.prompt,
        response,
        promptIds: entry.promptIds,
        responseIds: entry.responseIds![i]!,
      }));
      expect([...(await table.reward.score(inputs))]).toEqual(entry.rewards);
      expect(entry.finished).toEqual(entry.responseIds!.map((ids) => ids.at(-1) === table.END));
      // End tokens are special: they are in the ids and not in the text, in caches as in rollouts.
      expect(entry.responses).toEqual(entry.responseIds!.map((ids) => table.tokenizer.decode(ids)));
      expect(entry.lengths).toEqual(entry.responseIds!.map((ids) => ids.length));
      entry.logprobs!.forEach((p, i) =>
        expectClose(p, tl1.logRef[tl1.model.strings.indexOf(entry.responses![i]!)]!, 1e-5),
      );
    }
  });

  it("trap 30: a cache made with other settings is an error that names them", async () => {
    const cache = await built(join(folder, "header.jsonl"));
    expect(() => checkCacheSettings(cache, header)).not.toThrow();
    for (const other of [
      { temperature: 0.7 },
      { maxNewTokens: 3 },
      { modelHash: "00" },
      { reward: "lexicon:vader" },
      { topP: 0.9 },
    ]) {
      expect(() => checkCacheSettings(cache, { ...header, ...other })).toThrow(
        new RegExp(Object.keys(other)[0]!),
      );
    }
  });

  it("trap 43: a reward that is not finite stops the building; what was written stays and is not drawn again", async () => {
    const path = join(folder, "nan.jsonl");
    const engine = await createEngine(table.tableModel(device), 16, 4, table.settings);
    const options = { engine, tokenizer: table.tokenizer, seed: 0, samples: 16 };
    const bad = functionReward("bad", (inputs) => inputs.map(({ prompt }) => (prompt === "abb" ? NaN : 1)));
    const writer = await openCacheWriter(path, header);
    await expect(
      buildCache([table.prompt, table.longPrompt], writer, { ...options, reward: bad }),
    ).rejects.toThrow(/expected a finite number/);
    await writer.close();
    expect([...(await readCache(path)).entries.keys()]).toEqual([promptIdOf(table.prompt.ids)]);
    const asked: string[] = [];
    const good = functionReward("good", (inputs) => inputs.map(({ prompt }) => asked.push(prompt)));
    const again = await openCacheWriter(path, header, { resume: true });
    await buildCache([table.prompt, table.longPrompt], again, { ...options, reward: good });
    await again.close();
    expect(new Set(asked)).toEqual(new Set(["abb"]));
    engine.dispose();
  });

  it("trap 44: one cached score, and constant rewards, train without a NaN; pooled R is 0 where all are equal", async () => {
    const constant = functionReward("constant", (inputs) => inputs.map(() => 2));
    for (const [rewards, cdf] of [
      [[2], {}],
      [[2, 2, 2], {}],
      [[2, 2, 2], { estimator: "pooled" }],
    ] as const) {
      const cache = table.cacheOf([{ prompt: table.prompt, rewards: [...rewards] }]);
      const run = await tableRun(device, {
        cache,
        cdf,
        reward: constant,
        settings: { ...resolveSettings({ n: 4 }), scale: 1 },
      });
      const { episodes } = await run.iterate(0);
      const logF = Math.log(1 / (rewards.length + 1));
      for (const { terminal, text } of episodes) {
        if ("estimator" in cdf) expect(terminal).toBe(0);
        else expectClose(terminal, bonLogRatio(4, logF, tl1.logRef[tl1.model.strings.indexOf(text)]!), 1e-5);
      }
      await run.iterate(1);
      const weights = [...(await run.policy.parameters.readAll()).values()].flatMap((w) => [...w]);
      expect(weights.every(Number.isFinite)).toBe(true);
      run.dispose();
    }
  });
});
