/** The engine: what it draws is what scoring says, alone or in a batch, from a shared prefill, and it stops when all have ended. */
import { existsSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import { streamOf } from "../../src/align/cache/build.ts";
import { createScorer } from "../../src/align/scorer.ts";
import {
  createEngine,
  inOrder,
  type GenerateSettings,
  type Request,
  type Sample,
} from "../../src/generate/engine.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose } from "../support/golden.ts";
import * as table from "../support/table-model.ts";

const stories = new URL("../../../shared/data/stories260K", import.meta.url).pathname;
const there = existsSync(stories);
if (!there) console.log("stories260K: skipped, the folder ../shared/data/stories260K is not here");

const device = await testDevice();
afterAll(() => device.close());

const tiny = (name: string): string => new URL(`../fixtures/models/${name}`, import.meta.url).pathname;
const models = [
  { name: "gpt2-tiny", folder: tiny("gpt2-tiny"), maxNewTokens: 20 },
  { name: "llama-tiny-gqa", folder: tiny("llama-tiny-gqa"), maxNewTokens: 20 },
  ...(there ? [{ name: "stories260K", folder: stories, maxNewTokens: 48 }] : []),
];

/** Prompt number `p`: one to twelve tokens. */
function promptOf(p: number): number[] {
  const random = createRandom(3, p);
  return Array.from({ length: 1 + ((5 * p) % 12) }, () => 3 + random.integer(90));
}

/** Sample `m` of prompt `p`. */
const request = (p: number, m = 0): Request => ({ ids: promptOf(p), stream: streamOf(promptOf(p), m) });

describe.each(models)("$name", ({ folder, maxNewTokens }) => {
  const settings: GenerateSettings = { maxNewTokens, eosIds: [1, 2], temperature: 0.9 };
  const requests = Array.from({ length: 64 }, (_, i) => request(i % 10, i));
  const load = (): Promise<LanguageModel> => loadModel(device, folder, { trainable: false });

  it("decodes with the log-probabilities that scoring gives, prompts of unequal length side by side", async () => {
    const model = await load();
    const engine = await createEngine(model, 64, 12, settings);
    const samples = await engine.generate(requests, { seed: 1 });
    const scorer = createScorer({ policy: model, refPolicy: model, temperature: 0.9, batch: 16 });
    const sequences = samples.map((s, i) => ({ query: requests[i]!.ids, response: s.ids }));
    const { logprobs } = await scorer.score(sequences);
    samples.forEach((s, i) => expectAllClose(s.logprobs, logprobs[i]!, 1e-4, `response ${i}`));
    expect(new Set(requests.map((r) => r.ids.length)).size).toBe(10);
    expect(new Set(samples.map((s) => s.ids.join())).size).toBeGreaterThan(60);
    [engine, scorer].forEach((x) => x.dispose());
  });

  it("trap 40: draws the same for a seed, prompt and number, alone and in a batch of 64, to the last bit", async () => {
    const model = await load();
    const wide = await createEngine(model, 64, 12, settings);
    const together = await wide.generate(requests, { seed: 2 });
    for (const i of [0, 9, 37, 63]) {
      expect(await wide.generate([requests[i]!], { seed: 2 }), "one row of the same engine").toEqual([
        together[i],
      ]);
    }
    // Fewer rows than requests: rows are given to the next request as they end, beside others in mid-response.
    const order = shuffled(requests.length);
    for (const rows of [3, 64]) {
      const engine = await createEngine(model, rows, 12, settings);
      const samples = await engine.generate(
        order.map((i) => requests[i]!),
        { seed: 2 },
      );
      expect(samples, `${rows} rows, shuffled`).toEqual(order.map((i) => together[i]));
      engine.dispose();
    }
    const narrow = await createEngine(model, 1, 12, settings);
    expect(await narrow.generate(requests.slice(0, 8), { seed: 2 }), "an engine of one row").toEqual(
      together.slice(0, 8),
    );
    [wide, narrow].forEach((engine) => engine.dispose());
  });
});

describe.each(models)("$name, f16 cache", ({ folder }) => {
  const settings: GenerateSettings = { maxNewTokens: 20, eosIds: [1, 2], temperature: 0.9, kvDtype: "f16" };
  const requests = Array.from({ length: 64 }, (_, i) => request(i % 10, i));

  it("takes half the memory, moves log-probabilities by an RMS below 5e-3 nats, and repeats to the last bit in any batch", async () => {
    const model = await loadModel(device, folder, { trainable: false });
    const engine = await createEngine(model, 64, 12, settings);
    const whole = await createEngine(model, 64, 12, { ...settings, kvDtype: "f32" });
    expect(engine.cacheBytes).toBeLessThan(0.52 * whole.cacheBytes);
    const samples = await engine.generate(requests, { seed: 1 });
    const scorer = createScorer({ policy: model, refPolicy: model, temperature: 0.9, batch: 16 });
    const sequences = samples.map((s, i) => ({ query: requests[i]!.ids, response: s.ids }));
    const { logprobs } = await scorer.score(sequences);
    // Each key and value is rounded by up to 2^-11 of itself; the kernels are held to 1e-5 of that in the conformance test.
    const errors = samples.flatMap((s, i) => Array.from(s.logprobs, (l, t) => l - logprobs[i]![t]!));
    const rms = Math.sqrt(errors.reduce((sum, e) => sum + e * e, 0) / errors.length);
    expect(rms).toBeLessThan(5e-3);
    expect(await engine.generate(requests, { seed: 1 })).toEqual(samples);
    const narrow = await createEngine(model, 5, 12, settings);
    expect(await narrow.generate(requests.toReversed(), { seed: 1 })).toEqual(samples.toReversed());
    [engine, whole, narrow, scorer].forEach((x) => x.dispose());
  });
});

function shuffled(n: number): number[] {
  const random = createRandom(7, 0);
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** The model, and the shape of every batch that its forward pass was recorded for. */
function spied(model: LanguageModel): { model: LanguageModel; shapes: string[] } {
  const shapes: string[] = [];
  const hidden: LanguageModel["hidden"] = (batch, cache) => {
    shapes.push(batch.ids.shape.join("x"));
    return model.hidden(batch, cache);
  };
  return { model: { ...model, hidden }, shapes };
}

describe("work saved", () => {
  it("prefills a prompt once for all of its samples", async () => {
    const { model, shapes } = spied(await loadModel(device, tiny("llama-tiny-gqa"), { trainable: false }));
    const settings = { maxNewTokens: 8, eosIds: [2], temperature: 1 };
    const engine = await createEngine(model, 64, 12, settings);
    const shared = await engine.generate(
      Array.from({ length: 64 }, (_, m) => request(1 + (m % 2), m)),
      { seed: 0 },
    );
    expect(shapes, "a decoding step of 64 rows and a prefill of 2 prompts").toEqual(["64x1", "2x16"]);
    for (const m of [0, 1, 63])
      expect(await engine.generate([request(1 + (m % 2), m)], { seed: 0 })).toEqual([shared[m]]);
    expect(promptOf(0).length).toBe(1);
    await engine.generate([request(0)], { seed: 0 });
    expect(shapes, "none for a prompt of one token").toEqual(["64x1", "2x16", "1x16"]);
    engine.dispose();
  });

  it("stops soon after every response has ended", async () => {
    const settings: GenerateSettings = { maxNewTokens: 200, eosIds: [table.END], temperature: 1 };
    const requests = Array.from({ length: 8 }, (_, m) => ({ ids: [table.BOS], stream: [0, m] as const }));
    const engine = await createEngine(table.tableModel(device), 8, 1, settings);
    await engine.generate(requests, { seed: 0 });
    const before = device.counters.dispatches;
    let counted = 0;
    const samples = await engine.generate(requests, { seed: 0, onProgress: (tokens) => (counted += tokens) });
    const dispatches = device.counters.dispatches - before;
    const lengths = samples.map((s) => s.ids.length);
    expect(
      samples.every(
        (s) =>
          s.finish === "eos" && s.ids.at(-1) === table.END && s.ids.indexOf(table.END) === s.ids.length - 1,
      ),
    ).toBe(true);
    expect(Math.max(...lengths)).toBeLessThan(60);
    expect(counted).toBe(lengths.reduce((a, b) => a + b));
    const endless = await createEngine(table.tableModel(device), 8, 1, { ...settings, eosIds: [] });
    const start = device.counters.dispatches;
    const cut = await endless.generate(requests, { seed: 0 });
    const all = device.counters.dispatches - start;
    expect(cut.every((s) => s.ids.length === 200 && s.finish === "length")).toBe(true);
    // It looks every 8 tokens.
    expect(dispatches).toBeLessThan((all * (Math.max(...lengths) + 10)) / 200);
    [engine, endless].forEach((x) => x.dispose());
  });

  it("gives rows to waiting requests as responses end, and each response as soon as it has ended", async () => {
    const settings: GenerateSettings = { maxNewTokens: 200, eosIds: [table.END], temperature: 1 };
    const requests = Array.from({ length: 200 }, (_, m) => ({ ids: [table.BOS], stream: [0, m] as const }));
    const engine = await createEngine(table.tableModel(device), 8, 1, settings);
    let [counted, most] = [0, 0];
    const onTokens = (responses: ReadonlyMap<number, Uint32Array>): void => {
      most = Math.max(most, responses.size);
    };
    const start = device.counters.dispatches;
    const order: number[] = [];
    const samples: Sample[] = [];
    const onProgress = (tokens: number): void => void (counted += tokens);
    for await (const { index, sample } of engine.responses(requests, { seed: 0, onProgress, onTokens })) {
      order.push(index);
      samples[index] = sample;
    }
    const dispatches = device.counters.dispatches - start;
    expect(order.toSorted((a, b) => a - b)).toEqual(requests.map((_, i) => i));
    expect(order).not.toEqual(requests.map((_, i) => i));
    expect(counted).toBe(samples.reduce((sum, s) => sum + s.ids.length, 0));
    expect(most, "rows in flight").toBe(8);
    const before = device.counters.dispatches;
    for (let i = 0; i < requests.length; i += 8) {
      const wave = await engine.generate(requests.slice(i, i + 8), { seed: 0 });
      expect(wave).toEqual(samples.slice(i, i + 8));
    }
    expect(dispatches, "work beside that of waves").toBeLessThan(0.8 * (device.counters.dispatches - before));
    const ordered: number[] = [];
    for await (const { index } of inOrder(engine.responses(requests, { seed: 0 }))) ordered.push(index);
    expect(ordered).toEqual(requests.map((_, i) => i));
    for await (const { index } of engine.responses(requests, { seed: 0 })) if (index > 20) break;
    expect(await engine.generate(requests.slice(0, 20), { seed: 0 }), "after a loop that was left").toEqual(
      samples.slice(0, 20),
    );
    engine.dispose();
  });

  it("refuses prompts that do not fit, by name", async () => {
    const model = await loadModel(device, tiny("llama-tiny-gqa"), { trainable: false });
    const settings = { maxNewTokens: 8, eosIds: [2], temperature: 1 };
    await expect(createEngine(model, 4, 1000, settings)).rejects.toThrow(/exceed the model's context/);
    const odd = { ...model, config: { ...model.config, headDim: 12 } };
    await expect(createEngine(odd, 4, 4, { ...settings, kvDtype: "f16" })).rejects.toThrow(/multiple of 8/);
    const engine = await createEngine(model, 4, 4, settings);
    await expect(engine.generate([{ ids: [], stream: [0, 0] }], { seed: 0 })).rejects.toThrow(
      /has no tokens/,
    );
    await expect(engine.generate([{ ids: [3, 4, 5, 6, 7], stream: [0, 0] }], { seed: 0 })).rejects.toThrow(
      /made for 4/,
    );
    engine.dispose();
  });
});
