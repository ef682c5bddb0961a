/** The demo's first stage: samples of the reference and their scores, for the train and the test prompts. */
import { join } from "node:path";
import { buildCache } from "../../align/cache/build.ts";
import { type CacheHeader, promptIdOf, type RewardCache } from "../../align/cache/cache.ts";
import { openCacheWriter, readCache } from "../../align/cache/file.ts";
import { createEngine, type Engine } from "../../generate/engine.ts";
import { hashText, hexOf } from "../../tensor/hash.ts";
import type { Stage } from "./stages.ts";

/** A reward cache of each split. */
export interface Caches {
  readonly train: RewardCache;
  readonly test: RewardCache;
}

/** Builds or completes the caches. A file's name holds a hash of its settings: others get a file of their own. */
export async function buildCaches(stage: Stage): Promise<Caches> {
  const { plan, prompts, opened, generate } = stage;
  const longest = Math.max(...[...prompts.train, ...prompts.test].map((p) => p.ids.length));
  let engine: Engine | undefined;
  const open = async (): Promise<Engine> =>
    (engine ??= await createEngine(opened.model, plan.rows.cache, longest, generate));
  try {
    return { train: await buildSplit("train", stage, open), test: await buildSplit("test", stage, open) };
  } finally {
    engine?.dispose();
  }
}

async function buildSplit(
  split: "train" | "test",
  stage: Stage,
  open: () => Promise<Engine>,
): Promise<RewardCache> {
  const { io, plan, opened, reward, out, seed, prompts } = stage;
  const samples = plan.samples[split];
  const header = await headerOf(stage, samples);
  const { created: _, ...settings } = header;
  const path = join(out, `cache-${split}-${hexOf(hashText(JSON.stringify(settings))).slice(0, 8)}.jsonl`);
  const writer = await openCacheWriter(path, header, { resume: true });
  try {
    const todo = prompts[split].filter((p) => !writer.has(promptIdOf(p.ids)));
    if (todo.length < prompts[split].length)
      io.note(`  ${prompts[split].length - todo.length} prompts are in ${path} already`);
    if (todo.length > 0) {
      const progress = io.progress({
        label: `  cache, ${split}`,
        total: todo.length * samples,
        unit: "samples",
      });
      let done = 0;
      const onProgress = (more: number): void => progress.update((done += more * samples));
      const engine = await open();
      await buildCache(todo, writer, {
        engine,
        reward,
        tokenizer: opened.tokenizer,
        seed,
        samples,
        onProgress,
        signal: io.signal,
      });
      progress.stop();
    }
  } finally {
    await writer.close();
  }
  return readCache(path);
}

async function headerOf({ opened, reward, generate, seed }: Stage, m: number): Promise<CacheHeader> {
  const { temperature, maxNewTokens } = generate;
  const modelHash = await opened.model.parameters.hash();
  const made = { format: "vbon-cache", version: 1, created: new Date().toISOString() } as const;
  return {
    ...made,
    model: opened.name,
    modelHash,
    reward: reward.name,
    temperature,
    topK: 0,
    topP: 1,
    maxNewTokens,
    seed,
    m,
    dtype: "f32",
  };
}
