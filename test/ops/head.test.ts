/** The fused head: the bits of its rows, the memory it takes, and that it says what the logits say. */
import { afterAll, describe, expect, it } from "vitest";
import { headCompare, headLogprobs } from "../../src/ops/head.ts";
import { fullKl, tokenLogprobs } from "../../src/ops/logprob.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import type { Program } from "../../src/gpu/program.ts";
import { input, persistent, record, type Tensor } from "../../src/tensor/tensor.ts";
import { sample, worstOf } from "../../src/bench/check.ts";
import { testDevice } from "../support/device.ts";
import { expectClose } from "../support/golden.ts";

const device = await testDevice();
afterAll(() => device.close());

/** Writes the same values into every program; of a size that makes logits of trained models. */
function write(tensors: Readonly<Record<string, Tensor>>, V: number): void {
  for (const [name, t] of Object.entries(tensors)) {
    if (t.dtype === "u32") t.write(Array.from({ length: t.size }, (_, r) => (r * 31) % V));
    else t.write(sample(name.length, t.size).map((v) => v / 2));
  }
}

/** Bytes of the largest storage that has no place of its own. */
function largestScratch(program: Program): number {
  const sizes = program.calls.flatMap(({ views }) =>
    views.map(({ view: { storage } }) => (storage.shared ? storage.bytes : 0)),
  );
  return Math.max(...sizes);
}

it("gives a row the same bits alone, among others and in other row chunks", async () => {
  const [V, C, R] = [331, 16, 150];
  const rowsOf = async (rows: number, high?: number): Promise<readonly Float32Array[]> => {
    const program = await record(device, "head", () => {
      const x = { hidden: input([rows, C]), weight: input([V, C]), targets: input([rows], "u32") };
      const attrs = { columns: 128, ...(high && { rows: high }) };
      const [logprobs, entropy] = headLogprobs(x.hidden, x.weight, undefined, x.targets, attrs);
      const [p, h, q, kl] = headCompare(
        x.hidden,
        x.weight,
        undefined,
        x.hidden,
        x.weight,
        undefined,
        x.targets,
        attrs,
      );
      return { x, outputs: [logprobs, entropy, p, h, q, kl] };
    });
    const { x, outputs } = program.result;
    write(x, V);
    program.run();
    const found = await Promise.all(outputs.map((t) => t.read()));
    program.dispose();
    return found;
  };
  const [logprobs, entropy, p, h, q, kl] = await rowsOf(R);
  expect(p).toEqual(logprobs);
  expect(q).toEqual(logprobs);
  expect(h).toEqual(entropy);
  expect(kl).toEqual(new Float32Array(R));
  expect((await rowsOf(R, 64))[0]).toEqual(logprobs);
  const [few, fewEntropy] = await rowsOf(70);
  expect(few).toEqual(logprobs!.slice(0, 70));
  expect(fewEntropy).toEqual(entropy!.slice(0, 70));
});

describe.each([
  { R: 96, V: 512, C: 64, attrs: { temperature: 0.9 } },
  { R: 96, V: 1027, C: 64, attrs: { columns: 256, rows: 64 } },
])("%o", ({ R, V, C, attrs }) => {
  it("agrees with the composition over all logits, and so do the gradients", async () => {
    const results = await Promise.all(
      [true, false].map(async (fused) => {
        const program = await record(device, fused ? "fused" : "composed", () => {
          const x = { hidden: input([R, C]), weight: input([V, C]), targets: input([R], "u32") };
          const dy = { logprob: input([R]), entropy: input([R]) };
          const grads = [x.hidden, x.weight].map((t) => (t.grad = persistent(device, t.shape)));
          const logits = (): Tensor => matmul(x.hidden, x.weight, undefined, { transposeB: true });
          const [logprobs, entropy] = fused
            ? headLogprobs(x.hidden, x.weight, undefined, x.targets, attrs)
            : tokenLogprobs(logits(), x.targets, attrs);
          backwardFrom(logprobs, dy.logprob);
          backwardFrom(entropy, dy.entropy);
          return { x, dy, outputs: [logprobs, entropy, ...grads] };
        });
        const { x, dy, outputs } = program.result;
        write({ ...x, ...dy }, V);
        program.run();
        const found = await Promise.all(outputs.map((t) => t.read()));
        program.dispose();
        return found;
      }),
    );
    const [fused, composed] = results as [Float32Array[], Float32Array[]];
    const mean = (values: Float32Array): number => values.reduce((a, b) => a + b, 0) / values.length;
    expectClose(mean(fused[0]!), mean(composed[0]!), 1e-6, "loss");
    for (const [i, values] of fused.entries()) {
      expect(worstOf(values, composed[i]!, 0).error, `output ${i}`).toBeLessThan(2e-6);
    }
  });

  it("finds the KL of the logits", async () => {
    const program = await record(device, "kl", () => {
      const x = { a: input([R, C]), bb: input([V, C]), ccc: input([R, C]), dddd: input([V, C]) };
      const targets = input([R], "u32");
      const kl = headCompare(x.a, x.bb, undefined, x.ccc, x.dddd, undefined, targets, attrs)[3];
      const logits = (h: Tensor, w: Tensor): Tensor => matmul(h, w, undefined, { transposeB: true });
      return { x, targets, kl, want: fullKl(logits(x.a, x.bb), logits(x.ccc, x.dddd), attrs) };
    });
    const { x, targets, kl, want } = program.result;
    write({ ...x, targets }, V);
    program.run();
    expect(worstOf(await kl.read(), await want.read(), 0).error).toBeLessThan(2e-6);
    program.dispose();
  });
});

it("plans no memory of all logits at GPT-2 small's sizes, forward and backward", async () => {
  const [T, V, C] = [512, 50257, 768];
  const all = 4 * T * V;
  const program = await record(device, "gpt2-small's head", () => {
    const [hidden, weight, targets] = [input([T, C]), input([V, C]), input([T], "u32")];
    hidden.grad = persistent(device, hidden.shape);
    const [logprobs] = headLogprobs(hidden, weight, undefined, targets, {});
    backwardFrom(logprobs, input([T]));
    return { logprobs };
  });
  expect(largestScratch(program)).toBeLessThan(all / 4);
  expect(program.memory.scratch).toBeLessThan(all / 2);
  program.dispose();
});
