/** A text that ends responses: where it does, that it changes nothing before, and in whatever batch. */
import { afterAll, describe, expect, it } from "vitest";
import { streamOf } from "../../src/align/cache/build.ts";
import { createEngine, type GenerateSettings, type Sample } from "../../src/generate/engine.ts";
import { stopAt } from "../../src/generate/stop.ts";
import type { Tokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { loadModel } from "../../models/load.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

/** Every token is a letter: 0 is "a". */
const letters = {
  decode: (ids: Iterable<number>) => Array.from(ids, (id) => String.fromCharCode(97 + (id % 26))).join(""),
} as Tokenizer;

describe("the length of a response that stops", () => {
  it("is as few tokens as say the text, wherever it is looked at from", () => {
    const stop = stopAt("cd", letters);
    const ids = [0, 1, 2, 3, 4, 2, 3];
    const lengths = ids.map((_, i) => stop.lengthOf(ids.slice(0, i + 1)));
    expect(lengths).toEqual([undefined, undefined, undefined, 4, 4, 4, 4]);
    expect(stop.lengthOf([])).toBeUndefined();
    const long = [...Array<number>(100).fill(0), 2, 3, 0];
    for (const known of [0, 50, 99, 100, 101]) expect(stop.lengthOf(long, known), `${known}`).toBe(102);
    expect(stopAt("a", letters).lengthOf([0, 0])).toBe(1);
  });
});

describe("an engine", () => {
  const settings: GenerateSettings = { maxNewTokens: 30, eosIds: [1], temperature: 1 };
  const requests = Array.from({ length: 40 }, (_, i) => ({ ids: [5, 6, 7], stream: streamOf([5, 6, 7], i) }));
  const stop = stopAt("e", letters);
  const cut = (sample: Sample): Sample => {
    const length = stop.lengthOf(sample.ids);
    if (length === undefined) return sample;
    return {
      ids: sample.ids.slice(0, length),
      logprobs: sample.logprobs.slice(0, length),
      finish: "stop",
    };
  };

  it("draws what it draws without, up to the text, in batches of any size", async () => {
    const folder = new URL("../fixtures/models/gpt2-tiny", import.meta.url).pathname;
    const model = await loadModel(device, folder, { trainable: false });
    const free = await createEngine(model, 40, 3, settings);
    const expected = (await free.generate(requests, { seed: 3 })).map(cut);
    const ends = new Set(expected.map((s) => s.finish));
    expect(ends).toContain("stop");
    expect(ends.size).toBeGreaterThan(1);
    for (const rows of [40, 7, 1]) {
      const engine = await createEngine(model, rows, 3, { ...settings, stop });
      expect(await engine.generate(requests, { seed: 3 }), `${rows} rows`).toEqual(expected);
      engine.dispose();
    }
    free.dispose();
  });
});
