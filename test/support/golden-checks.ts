/** What float64 goldens allow: logits, gradients, parameters after steps of AdamW. */
import { expect } from "vitest";
import type { Checkpoint } from "../../src/data/weights/safetensors.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import { createAdamW, type Optimizer } from "../../src/optim/adamw.ts";
import { expectClose } from "./golden.ts";

/** The part `adamw` of a golden. */
export interface AdamWGolden {
  readonly hyperparameters: Readonly<
    Record<"beta1" | "beta2" | "eps" | "weight_decay" | "max_grad_norm", number>
  >;
  readonly steps: readonly {
    readonly lr: number;
    readonly loss_before_step: number;
    readonly grad_norm_before_clip: number;
  }[];
  readonly loss_after_step5: number;
}

/** A program that adds the gradients of a loss. */
export interface Lossy {
  run(): void;
  loss(): Promise<number>;
}

export function expectAbsolute(got: number, want: number, limit: number, what: string): void {
  expect(Math.abs(got - want) <= limit, `${what}: got ${got}, want ${want}, allowed ${limit}`).toBe(true);
}

export function expectAllAbsolute(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  limit: number,
  what: string,
): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) expectAbsolute(got[i]!, want[i]!, limit, `${what} [${i}]`);
}

/** Relative L2 error 1e-4; absolute 1e-6 where the exact gradient is (nearly) zero. */
export function checkGradient(got: Float32Array, want: Float32Array, name: string): void {
  const norm = Math.hypot(...want);
  if (norm < 1e-4) return expectAllAbsolute(got, want, 1e-6, `gradient of ${name}`);
  const error = Math.hypot(...got.map((g, i) => g - want[i]!)) / norm;
  expect(error, `relative error of the gradient of ${name}`).toBeLessThan(1e-4);
}

async function checkParameters(parameters: Parameters, tensors: Checkpoint, step: string): Promise<void> {
  for (const [name, values] of await parameters.readAll()) {
    expectAllAbsolute(values, await tensors.read(`${step}.${name}`), 1e-5, `${step} ${name}`);
  }
}

async function checkNorm(optimizer: Optimizer, want: number): Promise<void> {
  const [norm] = await optimizer.clip.read();
  expectClose(norm!, want, 1e-5, "gradient norm");
}

/** The gradients of one run, tensor by tensor; the golden has one for each. */
export async function checkGradients(parameters: Parameters, tensors: Checkpoint): Promise<void> {
  const named = [...tensors.tensors.keys()].filter((key) => key.startsWith("grad."));
  expect(named.sort()).toEqual(parameters.names.map((name) => `grad.${name}`).sort());
  for (const [name, tensor] of parameters) {
    checkGradient(await tensor.grad!.read(), await tensors.read(`grad.${name}`), name);
  }
}

/** Trains as the golden did, from its parameters and zero gradients, and compares losses, norms and parameters. */
export async function checkAdamW(
  parameters: Parameters,
  program: Lossy,
  { steps, hyperparameters: h, loss_after_step5: lossAfter }: AdamWGolden,
  tensors: Checkpoint,
): Promise<void> {
  const optimizer = await createAdamW(parameters.device, parameters, {
    betas: [h.beta1, h.beta2],
    eps: h.eps,
    weightDecay: h.weight_decay,
    gradClip: h.max_grad_norm,
    decay: "all",
  });
  parameters.zeroGrads();
  for (const [i, step] of steps.entries()) {
    program.run();
    expectClose(await program.loss(), step.loss_before_step, 1e-6, `loss before step ${i + 1}`);
    optimizer.step(step.lr);
    await checkNorm(optimizer, step.grad_norm_before_clip);
    if (i === 0) await checkParameters(parameters, tensors, "step1");
  }
  await checkParameters(parameters, tensors, "step5");
  program.run();
  expectClose(await program.loss(), lossAfter, 1e-6, "loss after step 5");
  optimizer.dispose();
}
