/** Every model family against float64 numbers: logits, loss, gradients, AdamW steps, greedy continuations. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import { type Checkpoint, openSafetensors } from "../../src/data/weights/safetensors.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { testDevice } from "../support/device.ts";
import { expectClose, golden } from "../support/golden.ts";
import { type AdamWGolden, checkAdamW, checkGradients, expectAllAbsolute } from "../support/golden-checks.ts";
import { lossProgram, type Padded, scoreProgram } from "../support/models.ts";

const NAMES = [
  "gpt2-tiny",
  "gpt2-tiny-f16",
  "gpt-neox-tiny",
  "gpt-neox-sequential-tiny",
  "gpt-neox-tiny-bf16",
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
  readonly adamw?: AdamWGolden;
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
      expectClose(await program.loss(), expected.loss.value, 1e-6, "loss");
      if (expected.grad) await checkGradients(model.parameters, tensors);
      program.dispose();
    });

    const { adamw, greedy } = expected;
    it.runIf(greedy)("greedy continuations", async () => {
      const { tokens } = greedy!;
      expect(await continueGreedily(model, expected.left_padded, tokens[0]!.length)).toEqual(tokens);
    });

    // Last: it changes the parameters.
    it.runIf(adamw)("five AdamW steps", async () => {
      const program = await lossProgram(model, expected.right_padded);
      await checkAdamW(model.parameters, program, adamw!, tensors);
      program.dispose();
    });
  });
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
