/** Mixed precision: f16 operands of linear maps, f32 sums; how far it may be from f32, and that it repeats itself. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel } from "../../models/model.ts";
import { sample } from "../../src/bench/check.ts";
import type { WeightLayout } from "../../src/nn/init.ts";
import { linear } from "../../src/nn/linear.ts";
import type { LanguageModel, Precision } from "../../src/nn/lm.ts";
import { half } from "../../src/ops/cast.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { sum } from "../../src/ops/reduce.ts";
import { createAdamW } from "../../src/optim/adamw.ts";
import { checkpoint } from "../../src/optim/checkpoint.ts";
import { backward, backwardFrom } from "../../src/optim/gradients.ts";
import { createLossScale } from "../../src/optim/loss-scale.ts";
import { input, persistent, readAll, record, type Tensor } from "../../src/tensor/tensor.ts";
import { gradientsOf } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { lossProgram, scoreProgram } from "../support/models.ts";
import { SMALL, smallBatch } from "../support/small-models.ts";

const device = await testDevice();
afterAll(() => device.close());

/** Rounding to f16 changes a number by at most this share, where it is no subnormal. */
const U = 2 ** -11;
/** Rounding to f32 likewise. */
const U32 = 2 ** -24;

const trained = (shape: readonly number[], seed: number): Tensor => {
  const x = persistent(device, shape);
  x.grad = persistent(device, shape);
  x.write(sample(seed, x.size));
  return x;
};

describe("a linear map", () => {
  const [M, K, N] = [7, 36, 12];

  /** y, dx, dW and dbias of y = x W + bias. */
  async function run(layout: WeightLayout, precision: Precision): Promise<Float32Array[]> {
    const x = trained([M, K], 1);
    const weight = trained(layout === "in_out" ? [K, N] : [N, K], 2);
    const bias = trained([N], 3);
    const program = await record(device, "linear", () => {
      const y = linear(x, weight, bias, layout, precision);
      const dy = input([M, N]);
      backwardFrom(y, dy);
      return { y, dy };
    });
    program.result.dy.write(sample(4, M * N));
    program.run();
    const found = await readAll(device, [program.result.y, x.grad!, weight.grad!, bias.grad!]);
    program.dispose();
    return found;
  }

  /** sum over k of |a_k b_k| for each entry, in f64. */
  function magnitudes(
    rows: number,
    columns: number,
    depth: number,
    of: (r: number, c: number, k: number) => number,
  ) {
    return Array.from({ length: rows * columns }, (_, i) =>
      Array.from({ length: depth }, (__, k) => Math.abs(of(Math.floor(i / columns), i % columns, k))).reduce(
        (a, b) => a + b,
      ),
    );
  }

  it.each(["in_out", "out_in"] as const)(
    "(%s) is within the rounding of its operands, term by term",
    async (layout) => {
      const [exact, mixed] = [await run(layout, "f32"), await run(layout, "mixed")];
      const [x, w, dy] = [sample(1, M * K), sample(2, K * N), sample(4, M * N)];
      const W = (k: number, n: number): number => w[layout === "in_out" ? k * N + n : n * K + k]!;
      const sums = [
        magnitudes(M, N, K, (m, n, k) => x[m * K + k]! * W(k, n)),
        magnitudes(M, K, N, (m, k, n) => dy[m * N + n]! * W(k, n)),
        layout === "in_out"
          ? magnitudes(K, N, M, (k, n, m) => x[m * K + k]! * dy[m * N + n]!)
          : magnitudes(N, K, M, (n, k, m) => x[m * K + k]! * dy[m * N + n]!),
      ];
      sums.forEach((sizes, i) => {
        // |fl(a)fl(b) - ab| <= (2u + u^2)|ab|, and either sum of K terms is off by at most (K + 1) u32 of them.
        const allowed = 2 * U + U ** 2 + 2 * (Math.max(M, K, N) + 1) * U32;
        let worst = 0;
        sizes.forEach((size, j) => {
          const error = Math.abs(mixed[i]![j]! - exact[i]![j]!);
          expect(error, `${["y", "dx", "dW"][i]}[${j}]`).toBeLessThanOrEqual(allowed * size);
          worst = Math.max(worst, error / size);
        });
        expect(worst, "it does round").toBeGreaterThan(U / 20);
      });
      expect(mixed[3], "the gradient of the bias is not rounded").toEqual(exact[3]);
    },
  );
});

describe("half", () => {
  it("brings each use's gradient to the tensor it copies, whoever made the copy", async () => {
    const x = trained([4, 4], 1);
    const program = await record(device, "uses", () => {
      const frozen = half(x.detach());
      const products = [half(x), half(x)].map((copy) => matmul(copy, frozen, undefined));
      products.forEach((y) => backward(sum(y.reshape(-1))));
      expect(frozen.needsGrad).toBe(false);
    });
    program.run();
    const rows = sample(1, 16);
    const rowSums = [0, 1, 2, 3].map((k) => [0, 1, 2, 3].reduce((s, n) => s + half16(rows[4 * k + n]!), 0));
    (await x.grad!.read()).forEach((g, i) => expect(g).toBeCloseTo(2 * rowSums[i % 4]!, 5));
    program.dispose();
  });

  it("is read again from its copy inside checkpoint(), with the bits of no checkpoint", async () => {
    const [x, weight] = [trained([6, 8], 1), trained([8, 8], 2)];
    const results: Float32Array[][] = [];
    for (const kept of [true, false]) {
      for (const { grad } of [x, weight]) grad!.write(new Float32Array(grad!.size));
      const program = await record(device, "again", () => {
        // The first product's result is rounded, then read once as f32: on the way back from the f16 copy.
        const block = (start: Tensor): Tensor => {
          const middle = linear(start, weight, undefined, "in_out", "mixed");
          return matmul(middle, matmul(half(middle).reshape(8, 6), half(middle), undefined), undefined);
        };
        const y = kept ? block(x) : checkpoint(block, x);
        backward(sum(y.reshape(-1)));
        return y;
      });
      program.run();
      results.push(await readAll(device, [program.result, x.grad!, weight.grad!]));
      program.dispose();
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[0]!.flatMap((values) => [...values]).every(Number.isFinite)).toBe(true);
  });
});

/** x as f16 holds it, for normal numbers. */
function half16(x: number): number {
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(x))) - 10);
  const q = x / unit;
  const rounded = Math.round(q);
  return unit * (Math.abs(q - Math.trunc(q)) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded);
}

const norm = (xs: Iterable<number>): number => Math.sqrt([...xs].reduce((s, x) => s + x * x, 0));
const relative = (got: Float32Array, want: Float32Array): number =>
  norm(got.map((v, i) => v - want[i]!)) / norm(want);

const FAMILIES = {
  ...SMALL,
  neox: {
    model_type: "gpt_neox",
    vocab_size: 64,
    max_position_embeddings: 64,
    num_hidden_layers: 3,
    num_attention_heads: 2,
    hidden_size: 32,
    intermediate_size: 64,
    rotary_pct: 0.5,
    tie_word_embeddings: false,
  },
};

describe.each(Object.entries(FAMILIES))("%s in mixed precision", (_, json) => {
  const build = (): LanguageModel => createModel(device, json, { trainable: true, seed: 4 });
  const mixed = (model: LanguageModel, checkpointing = false): LanguageModel =>
    model.with(model.parameters, { precision: "mixed", checkpointing });
  const batch = smallBatch(3, 24);
  /** Products between the tokens and the logits. */
  const maps = 3 * 4 + 1;

  it("has the logits and the gradients of f32, but for the rounding of each product's operands", async () => {
    const model = build();
    const runs = [];
    for (const one of [model, mixed(model)]) {
      const { logits, logprobs } = await scoreProgram(one, batch);
      const program = await lossProgram(one, batch);
      model.parameters.zeroGrads();
      program.run();
      const grads = await gradientsOf(model.parameters);
      runs.push({ logits, logprobs: Float32Array.from(logprobs.flat()), loss: await program.loss(), grads });
      program.dispose();
    }
    const [exact, rounded] = runs as [(typeof runs)[0], (typeof runs)[0]];
    // To first order each product adds at most 2u of the norm it has there, which the norms between pass on as it is.
    expect(relative(rounded.logits, exact.logits)).toBeLessThan(maps * 2 * U);
    expect(relative(rounded.logits, exact.logits)).toBeGreaterThan(U / 10);
    expect(Math.abs(rounded.loss - exact.loss)).toBeLessThan(
      maps * 2 * U * norm(exact.logprobs.map((l) => l + exact.loss)),
    );
    // On the way back each product is two, of operands that the way there has already moved.
    for (const [name, grad] of exact.grads)
      expect(relative(rounded.grads.get(name)!, grad), name).toBeLessThan(3 * maps * 2 * U);
    model.parameters.dispose();
  });

  it("has the same bits with checkpointing, from a smaller scratch", async () => {
    const model = build();
    const results = [];
    for (const checkpointing of [false, true]) {
      const program = await lossProgram(mixed(model, checkpointing), batch);
      model.parameters.zeroGrads();
      program.run();
      results.push({ loss: await program.loss(), grads: await gradientsOf(model.parameters) });
      results.push(program.memory.scratch);
      program.dispose();
    }
    expect(results[2]).toEqual(results[0]);
    expect(results[3]).toBeLessThan(results[1] as number);
    model.parameters.dispose();
  });

  it("learns as f32 does, twice the same to the last bit", async () => {
    const run = async (
      precision: Precision,
      checkpointing = false,
    ): Promise<{ losses: number[]; hash: string }> => {
      const model = build();
      const lossScale = precision === "mixed" ? createLossScale(device) : undefined;
      const settings = { weightDecay: 0.1, gradClip: 1, lossScale };
      const optimizer = await createAdamW(device, model.parameters, settings);
      const computing = { precision, checkpointing };
      const program = await lossProgram(model.with(model.parameters, computing), batch, lossScale);
      const losses: number[] = [];
      for (let i = 0; i < 20; i++) {
        program.run();
        losses.push(await program.loss());
        optimizer.step(3e-3);
      }
      const hash = await model.parameters.hash();
      [program, optimizer, model.parameters].forEach((x) => x.dispose());
      return { losses, hash };
    };
    const [exact, first, second] = [await run("f32"), await run("mixed"), await run("mixed")];
    expect(second).toEqual(first);
    expect(await run("mixed", true)).toEqual(first);
    expect(first.hash).not.toBe(exact.hash);
    expect(exact.losses.at(-1)!).toBeLessThan(0.7 * exact.losses[0]!);
    exact.losses.forEach((loss, i) =>
      expect(Math.abs(first.losses[i]! - loss), `loss ${i}`).toBeLessThan(maps * 2 * U * exact.losses[0]!),
    );
  });
});
