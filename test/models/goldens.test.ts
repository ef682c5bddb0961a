/** Every model family against float64 numbers: logits, loss, gradients, AdamW steps, greedy continuations. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import { type Checkpoint, openSafetensors } from "../../src/data/safetensors.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { type Optimizer, createAdamW } from "../../src/optim/adamw.ts";
import { testDevice } from "../support/device.ts";
import { expectClose, golden } from "../support/golden.ts";
import { lossProgram, type Padded, scoreProgram } from "../support/models.ts";

const NAMES = [
  "gpt2-tiny",
  "gpt2-tiny-f16",
  "gpt-neox-tiny",
  "gpt-neox-sequential-tiny",
  "llama-tiny-gqa",
  "llama-tied-tiny",
  "llama-tiny-gqa-sharded",
];

interface Expected {
  readonly lengths: readonly number[];
  readonly right_padded: Padded;
  readonly left_padded: Padded;
  readonly token_logprobs: readonly (readonly (number | null)[])[];
  readonly "token_logprobs_temperature_0.7"?: readonly (readonly (number | null)[])[];
  readonly loss: { readonly value: number };
  readonly grad?: { readonly global_norm: number };
  readonly adamw?: {
    readonly hyperparameters: Readonly<
      Record<"beta1" | "beta2" | "eps" | "weight_decay" | "max_grad_norm", number>
    >;
    readonly steps: readonly {
      readonly lr: number;
      readonly loss_before_step: number;
      readonly grad_norm_before_clip: number;
    }[];
    readonly loss_after_step5: number;
  };
  readonly greedy?: { readonly tokens: readonly (readonly number[])[] };
}

const device = await testDevice();
afterAll(() => device.close());

const fixture = (name: string): string => new URL(`../fixtures/models/${name}`, import.meta.url).pathname;

for (const name of NAMES) {
  describe(name, () => {
    const expected = golden<Expected>(`models/${name}/expected.json`);
    let tensors: Checkpoint;
    let model: LanguageModel;
    beforeAll(async () => {
      tensors = await openSafetensors(`${fixture(name)}/expected.safetensors`);
      model = await loadModel(device, fixture(name), { trainable: true });
    });
    afterAll(() => model.parameters.dispose());

    for (const side of ["right_padded", "left_padded"] as const) {
      it(`logits, ${side}`, async () => {
        const batch = expected[side];
        const { logits, hidden } = await scoreProgram(model, batch);
        await checkReal(batch, logits, tensors, side === "right_padded" ? "logits" : "logits_left_padded");
        if (side === "right_padded" && tensors.tensors.has("hidden.final")) {
          await checkReal(batch, hidden, tensors, "hidden.final");
        }
      });
    }

    it("log-probabilities, at two temperatures", async () => {
      for (const side of ["right_padded", "left_padded"] as const) {
        for (const temperature of [1, 0.7] as const) {
          const wanted = expected[temperature === 1 ? "token_logprobs" : "token_logprobs_temperature_0.7"];
          if (!wanted) continue;
          const { logprobs } = await scoreProgram(model, expected[side], temperature);
          expected.lengths.forEach((length, b) => {
            const want = wanted[b]!.slice(0, length - 1) as number[];
            expectAllAbsolute(logprobs[b]!, want, 1e-4, `row ${b}, temperature ${temperature}, ${side}`);
          });
        }
      }
    });

    it("loss and gradients", async () => {
      const program = await lossProgram(model, expected.right_padded);
      model.parameters.zeroGrads();
      program.run();
      expectAbsolute(await program.loss(), expected.loss.value, 2e-5, "loss");
      for (const [key, tensor] of model.parameters) {
        if (!tensors.tensors.has(`grad.${key}`)) continue;
        checkGradient(await tensor.grad!.read(), await tensors.read(`grad.${key}`), key);
      }
      const named = [...tensors.tensors.keys()].filter((key) => key.startsWith("grad."));
      expect(named.sort()).toEqual(
        expected.grad ? model.parameters.names.map((n) => `grad.${n}`).sort() : [],
      );
      program.dispose();
    });

    const { adamw, greedy } = expected;
    it.runIf(greedy)("greedy continuations", async () => {
      const { tokens } = greedy!;
      expect(await continueGreedily(model, expected.left_padded, tokens[0]!.length)).toEqual(tokens);
    });

    // Last: it changes the parameters.
    it.runIf(adamw)("five AdamW steps", async () => {
      const { steps, hyperparameters: h, loss_after_step5: lossAfter } = adamw!;
      const optimizer = await createAdamW(device, model.parameters, {
        betas: [h.beta1, h.beta2],
        eps: h.eps,
        weightDecay: h.weight_decay,
        gradClip: h.max_grad_norm,
        decay: "all",
      });
      const program = await lossProgram(model, expected.right_padded);
      model.parameters.zeroGrads();
      for (const [i, step] of steps.entries()) {
        program.run();
        expectAbsolute(await program.loss(), step.loss_before_step, 2e-5, `loss before step ${i + 1}`);
        optimizer.step(step.lr);
        await checkNorm(optimizer, step.grad_norm_before_clip);
        if (i === 0) await checkParameters(model, tensors, "step1");
      }
      await checkParameters(model, tensors, "step5");
      program.run();
      expectAbsolute(await program.loss(), lossAfter, 2e-5, "loss after step 5");
      optimizer.dispose();
    });
  });
}

function expectAbsolute(got: number, want: number, limit: number, what: string): void {
  expect(Math.abs(got - want) <= limit, `${what}: got ${got}, want ${want}, allowed ${limit}`).toBe(true);
}

function expectAllAbsolute(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  limit: number,
  what: string,
): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) expectAbsolute(got[i]!, want[i]!, limit, `${what} [${i}]`);
}

/** Compares [B, T, N] values at real tokens. */
async function checkReal(
  { attention_mask: mask }: Padded,
  got: Float32Array,
  tensors: Checkpoint,
  name: string,
): Promise<void> {
  const want = await tensors.read(name);
  expect(got.length, name).toBe(want.length);
  const width = want.length / mask.flat().length;
  mask.flat().forEach((real, row) => {
    const part = [row * width, (row + 1) * width] as const;
    if (real) expectAllAbsolute(got.subarray(...part), want.subarray(...part), 1e-4, `${name} ${row}`);
  });
}

/** Relative L2 error 1e-4; absolute 1e-6 where the exact gradient is (nearly) zero. */
function checkGradient(got: Float32Array, want: Float32Array, name: string): void {
  const norm = Math.hypot(...want);
  if (norm < 1e-4) return expectAllAbsolute(got, want, 1e-6, `gradient of ${name}`);
  const error = Math.hypot(...got.map((g, i) => g - want[i]!)) / norm;
  expect(error, `relative error of the gradient of ${name}`).toBeLessThan(1e-4);
}

async function checkParameters(model: LanguageModel, tensors: Checkpoint, step: string): Promise<void> {
  for (const [name, values] of await model.parameters.readAll()) {
    expectAllAbsolute(values, await tensors.read(`${step}.${name}`), 1e-5, `${step} ${name}`);
  }
}

async function checkNorm(optimizer: Optimizer, want: number): Promise<void> {
  const [norm] = await optimizer.clip.read();
  expectClose(norm!, want, 1e-5, "gradient norm");
}

/** Appends the likeliest token `count` times, scoring everything anew each time. */
async function continueGreedily(model: LanguageModel, batch: Padded, count: number): Promise<number[][]> {
  let grown = batch;
  const tokens = batch.input_ids.map((): number[] => []);
  for (let i = 0; i < count; i++) {
    const { logits } = await scoreProgram(model, grown);
    const [T, V] = [grown.input_ids[0]!.length, model.config.vocabSize];
    const next = tokens.map((_, b) => argmax(logits.subarray(((b + 1) * T - 1) * V, (b + 1) * T * V)));
    next.forEach((id, b) => tokens[b]!.push(id));
    grown = {
      input_ids: grown.input_ids.map((row, b) => [...row, next[b]!]),
      attention_mask: grown.attention_mask.map((row) => [...row, 1]),
      position_ids: grown.position_ids.map((row) => [...row, row.at(-1)! + 1]),
    };
  }
  return tokens;
}

function argmax(values: Float32Array): number {
  return values.reduce((best, v, i) => (v > values[best]! ? i : best), 0);
}
