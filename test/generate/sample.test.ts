/** The sampler: known answers, an independent oracle, independence of the batch, frequencies. */
import { afterAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import {
  chooseTokens,
  type Drawn,
  sampleTokens,
  sampleVariants,
  type SamplingSettings,
} from "../../src/generate/sample.ts";
import { drawUniforms, philoxWords } from "../../src/generate/uniforms.ts";
import { createRandom, philox4x32 } from "../../src/tensor/random.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose, golden } from "../support/golden.ts";

const device = await testDevice();
afterAll(() => device.close());
const variants = sampleVariants(device);

interface Sampled {
  readonly tokens: number[];
  readonly logprobs: number[];
  readonly truncated: number[];
}

async function read({ tokens, logprobs, truncatedLogprobs }: Drawn): Promise<Sampled> {
  return {
    tokens: [...(await tokens.readU32())],
    logprobs: [...(await logprobs.read())],
    truncated: [...(await truncatedLogprobs.read())],
  };
}

async function choose(
  rows: readonly (readonly number[])[],
  us: readonly number[],
  settings: SamplingSettings,
  variant?: string,
): Promise<Sampled> {
  const program = await record(device, "choose", () => {
    const logits = input([rows.length, rows[0]!.length]);
    const uniforms = input([rows.length]);
    return { logits, uniforms, drawn: chooseTokens(logits, uniforms, settings, variant) };
  });
  program.result.logits.write(rows.flat());
  program.result.uniforms.write(us);
  program.run();
  const got = await read(program.result.drawn);
  program.dispose();
  return got;
}

async function sample(
  rows: readonly (readonly number[])[],
  {
    seed,
    streams,
    positions,
  }: { seed: readonly number[]; streams: readonly (readonly number[])[]; positions: readonly number[] },
  settings: SamplingSettings,
  variant?: string,
): Promise<Sampled> {
  const B = rows.length;
  const program = await record(device, "sample", () => {
    const logits = input([B, rows[0]!.length]);
    const state = { seed: input([2], "u32"), streams: input([B, 2], "u32"), positions: input([B], "u32") };
    return { logits, state, drawn: sampleTokens(logits, state, settings, variant) };
  });
  const { logits, state, drawn } = program.result;
  logits.write(rows.flat());
  state.seed.write(seed);
  state.streams.write(streams.flat());
  state.positions.write(positions);
  program.run();
  const got = await read(drawn);
  program.dispose();
  return got;
}

/** Values of about normal spread, the same in every run. */
const logitsOf = (B: number, V: number): number[][] =>
  Array.from({ length: B }, (_, b) => {
    const random = createRandom(11, b);
    return Array.from({ length: V }, () => Math.fround(2 * random.normal()));
  });

describe("Philox in WGSL", () => {
  // The three vectors of "philox4x32 10" in Random123's kat_vectors.
  it.each([
    { counter: [0, 0, 0, 0], key: [0, 0], expected: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8] },
    {
      counter: Array(4).fill(0xffffffff),
      key: Array(2).fill(0xffffffff),
      expected: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    },
    {
      counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      key: [0xa4093822, 0x299f31d0],
      expected: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    },
  ])("meets the published vector $counter", async ({ counter, key, expected }) => {
    const program = await record(device, "philox", () => {
      const counters = input([1, 4], "u32");
      const seed = input([2], "u32");
      return { counters, seed, words: philoxWords(counters, seed) };
    });
    program.result.counters.write(counter);
    program.result.seed.write(key);
    program.run();
    expect([...(await program.result.words.readU32())]).toEqual(expected);
    program.dispose();
  });

  it("draws the host's numbers", async () => {
    const B = 70;
    const program = await record(device, "uniforms", () => {
      const state = { seed: input([2], "u32"), streams: input([B, 2], "u32"), positions: input([B], "u32") };
      return { ...state, uniforms: drawUniforms(state) };
    });
    const streams = Array.from({ length: B }, (_, b) => [b * 977, b % 3]);
    const positions = Array.from({ length: B }, (_, b) => (b * b) % 50);
    program.result.seed.write([5, 1]);
    program.result.streams.write(streams.flat());
    program.result.positions.write(positions);
    program.run();
    const words = streams.map(([lo, hi], b) => philox4x32([positions[b]!, 0, lo!, hi!], [5, 1])[0]);
    expect([...(await program.result.uniforms.read())]).toEqual(words.map((w) => (w >>> 8) / 2 ** 24));
    const stream = streams[4]![0]! + 2 ** 32 * streams[4]![1]!;
    expect(words[4]).toBe(createRandom(5 + 2 ** 32, stream, 4 * positions[4]!).uint32());
    program.dispose();
  });
});

describe.each(variants)("the oracle's tokens (%s)", (variant) => {
  interface Golden {
    temperature: number;
    top_k: number;
    top_p: number;
    probs: number[][];
    tokens_by_inverse_cdf: number[][];
  }
  const { logits, uniforms, cases } = golden<{ logits: number[][]; uniforms: number[][]; cases: Golden[] }>(
    "sampling.json",
  );
  it.each(cases)("temperature $temperature, top-k $top_k, top-p $top_p", async (c) => {
    const settings = { temperature: c.temperature, topK: c.top_k, topP: c.top_p };
    const rows = logits.flatMap((row, b) => uniforms[b]!.map(() => row));
    const got = await choose(rows, uniforms.flat(), settings, variant);
    expect(got.tokens).toEqual(c.tokens_by_inverse_cdf.flat());
    const kept = got.tokens.map((token, i) =>
      Math.log(c.probs[Math.floor(i / uniforms[0]!.length)]![token]!),
    );
    expectAllClose(got.truncated, kept, 1e-6, "truncated logprobs");
    const full = got.tokens.map((token, i) => {
      const z = rows[i]!.map((v) => v / c.temperature);
      return z[token]! - Math.log(z.reduce((sum, v) => sum + Math.exp(v), 0));
    });
    expectAllClose(got.logprobs, full, 1e-6, "logprobs");
  });
});

/** Kept probabilities by sorting, in float64: the definition of top-k and top-p. */
function keptByDefinition(
  row: readonly number[],
  { temperature, topK = 0, topP = 1 }: SamplingSettings,
): number[] {
  const z = row.map((v) => v / temperature);
  const top = Math.max(...z);
  const sorted = z.map((v, i) => [v, i] as const).sort(([a, i], [b, j]) => b - a || i - j);
  const least = topK > 0 && topK < z.length ? sorted[topK - 1]![0] : -Infinity;
  const weights = z.map((v) => (v >= least ? Math.exp(v - top) : 0));
  const total = weights.reduce((a, b) => a + b, 0);
  const kept = z.map(() => 0);
  let sum = 0;
  for (const [, i] of sorted) {
    if (sum >= topP * total) break;
    kept[i] = weights[i]!;
    sum += weights[i]!;
  }
  return kept.map((w) => w / sum);
}

describe.each(variants)("truncation (%s)", (variant) => {
  const us = Array.from({ length: 200 }, (_, i) => Math.fround((i + 0.5) / 200));
  it.each([3, 64, 130, 172])("keeps what sorting keeps, V = %i", async (V) => {
    const [row] = logitsOf(1, V) as [number[]];
    for (const settings of [
      { temperature: 1, topK: 2 },
      { temperature: 0.7, topP: 0.9 },
      { temperature: 1.5, topK: 40, topP: 0.5 },
      { temperature: 1, topK: V, topP: 1 },
    ]) {
      const probs = keptByDefinition(row, settings);
      const { tokens, truncated } = await choose(
        us.map(() => row),
        us,
        settings,
        variant,
      );
      const expected = us.map((u) => {
        let sum = 0;
        return probs.findIndex((p) => (sum += p) > u);
      });
      expect(tokens).toEqual(expected);
      expectAllClose(
        truncated,
        tokens.map((t) => Math.log(probs[t]!)),
        2e-6,
        "truncated logprobs",
      );
    }
  });

  it("takes equal logits by lowest id under top-p, all of them under top-k", async () => {
    const row = Array(64).fill(1.5) as number[];
    const byP = await choose(
      us.map(() => row),
      us,
      { temperature: 1, topP: 0.25 },
      variant,
    );
    expect(new Set(byP.tokens)).toEqual(new Set(Array.from({ length: 16 }, (_, i) => i)));
    const byK = await choose(
      us.map(() => row),
      us,
      { temperature: 1, topK: 5 },
      variant,
    );
    expect(Math.max(...byK.tokens)).toBe(63);
  });

  it("never draws a token whose logit is -Infinity", async () => {
    const row = Array.from({ length: 36 }, (_, i) => (i % 3 === 1 ? 0 : -Infinity));
    const ends = [0, 0.3, 0.5, 0.99999994];
    for (const settings of [
      { temperature: 1 },
      { temperature: 2, topK: 20 },
      { temperature: 1, topP: 0.99 },
    ]) {
      const { tokens, logprobs } = await choose(
        ends.map(() => row),
        ends,
        settings,
        variant,
      );
      expect(tokens.every((t) => t % 3 === 1)).toBe(true);
      expectAllClose(
        logprobs,
        ends.map(() => -Math.log(12)),
        1e-6,
      );
    }
  });
});

describe.each(variants)("greedy (%s)", (variant) => {
  it("takes the largest logit, the lowest id among equals", async () => {
    const rows = logitsOf(9, 172);
    rows[3]![100] = rows[3]![7] = 50;
    rows[4]!.fill(-2);
    const { tokens, truncated } = await choose(
      rows,
      rows.map(() => 0),
      { temperature: 0.5, greedy: true },
      variant,
    );
    expect(tokens).toEqual(rows.map((row) => row.indexOf(Math.max(...row))));
    expect(truncated).toEqual(rows.map(() => 0));
  });
});

describe.each(variants)("randomness (%s)", (variant) => {
  it.each([{ temperature: 1 }, { temperature: 0.8, topK: 30, topP: 0.9 }])(
    "does not depend on the batch, %o",
    async (settings) => {
      const rows = logitsOf(33, 130);
      const streams = rows.map((_, b) => [b * 31 + 5, 0]);
      const positions = rows.map((_, b) => b % 4);
      const whole = await sample(rows, { seed: [9, 0], streams, positions }, settings, variant);
      const order = [17, 2, 30];
      const some = await sample(
        order.map((b) => rows[b]!),
        { seed: [9, 0], streams: order.map((b) => streams[b]!), positions: order.map((b) => positions[b]!) },
        settings,
        variant,
      );
      expect(some.tokens).toEqual(order.map((b) => whole.tokens[b]));
      expect(some.logprobs).toEqual(order.map((b) => whole.logprobs[b]));
    },
  );

  // 4096 draws over 12 tokens: 11 degrees of freedom, 37.4 is the 1e-4 quantile of chi-squared.
  it("meets the probabilities (chi-squared, p > 1e-4)", async () => {
    const [row] = logitsOf(1, 12) as [number[]];
    const N = 4096;
    const state = {
      seed: [3, 0],
      streams: Array.from({ length: N }, (_, i) => [i, 0]),
      positions: Array(N).fill(0) as number[],
    };
    const { tokens } = await sample(Array(N).fill(row) as number[][], state, { temperature: 1.3 }, variant);
    const probs = keptByDefinition(row, { temperature: 1.3 });
    const chi2 = probs.reduce(
      (sum, p, t) => sum + (tokens.filter((x) => x === t).length - N * p) ** 2 / (N * p),
      0,
    );
    expect(Math.min(...probs) * N).toBeGreaterThan(5);
    expect(chi2).toBeLessThan(37.4);
  });
});

describe("settings", () => {
  it.each([
    [{ temperature: 0 }, /for temperature 0 set greedy/],
    [{ temperature: 1, topK: 1.5 }, /whole number/],
    [{ temperature: 1, topP: 0 }, /0 < topP <= 1/],
  ] as const)("refuses %o", async (settings, message) => {
    const refused = record(device, "refused", () => chooseTokens(input([1, 4]), input([1]), settings));
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toThrow(ConfigError);
  });
});
