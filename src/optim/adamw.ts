/** AdamW over the arena of trained tensors: one dispatch a binding's worth of parameters. */
import { ConfigError } from "../errors.ts";
import { grid } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import type { Program } from "../gpu/program.ts";
import { arena as cut } from "../gpu/storage.ts";
import { call } from "../tensor/op.ts";
import { persistent, record, sizeOf, Tensor } from "../tensor/tensor.ts";
import { type Blocks, blocksOf, type TrainedArena, uploadTable, windowOf } from "./arena.ts";
import { CLIP_WIDTH, clipFactor } from "./clip.ts";
import { type LossScale, mostSkipped, unitScale } from "./loss-scale.ts";

const kernel = await loadKernel("adamw");

/** Settings that stay the same for a whole run. */
export interface AdamWOptions {
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  readonly weightDecay?: number;
  /** Largest global norm of the gradients; 0 = no clipping. */
  readonly gradClip?: number;
  /** Decay the tensors whose specification says so (the default), or all of them. */
  readonly decay?: "marked" | "all";
  /** Of the loss whose gradients arrive here; without one they are not scaled, and no step is skipped. */
  readonly lossScale?: LossScale | undefined;
  /** Bytes one dispatch may bind; the adapter's limit by default. */
  readonly maxBindingBytes?: number;
}

/** What turns gradients into new parameters. */
export interface Optimizer {
  /** Steps taken so far, skipped ones included; a checkpoint restores it together with {@link Optimizer.tensors}. */
  steps: number;
  /** The state by name, for checkpoints: `m.<parameter>`, `v.<parameter>`, `lossScale` where there is one. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** [4]: of the last step the norm of all gradients before clipping, the factor applied, the loss scale; steps skipped. */
  readonly clip: Tensor;
  /**
   * Records the update into the program being recorded: it reads the gradients, changes the parameters and the
   * state, and leaves the gradients zero. Call {@link Optimizer.prepare} before each run of that program.
   */
  update(): void;
  /** Counts a step and writes its scalars, from `lr`, to the GPU. */
  prepare(lr: number): void;
  /** {@link Optimizer.prepare}, then a run of a program of its own that holds only {@link Optimizer.update}. */
  step(lr: number): void;
  /** Gives the state's memory back. */
  dispose(): void;
}

interface Settings {
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  readonly gradClip: number;
}

/**
 * AdamW (Loshchilov & Hutter 2019, algorithm 2) after clipping by the global norm; for step t = 1, 2, …
 *   g ← g min(1, gradClip / (‖g‖ + 1e-6));  θ ← θ (1 - lr·weightDecay)
 *   m ← β₁m + (1-β₁)g;  v ← β₂v + (1-β₂)g²;  θ ← θ - lr/(1-β₁ᵗ) · m / (√v/√(1-β₂ᵗ) + eps)
 * With a loss scale a step whose gradients are not finite is skipped, and is no t.
 * @param parameters what holds the trained tensors (`Parameters`)
 * @throws ConfigError when nothing is trained or a setting is out of range
 */
export async function createAdamW(
  device: Device,
  parameters: { readonly trained: TrainedArena | undefined },
  options: AdamWOptions = {},
): Promise<Optimizer> {
  const settings = check(options);
  const { trained } = parameters;
  if (!trained) throw new ConfigError("adamw: no parameter is trained; create them with trainable: true");
  const all = options.decay === "all";
  const slots = trained.slots.map((slot) => (all ? { ...slot, decay: true } : slot));
  const blocks = blocksOf(slots, options.maxBindingBytes ?? device.bindingBytes);
  return assemble(device, trained, blocks, settings, options.lossScale ?? unitScale(device));
}

async function assemble(
  device: Device,
  trained: TrainedArena,
  blocks: Blocks,
  settings: Settings,
  lossScale: LossScale,
): Promise<Optimizer> {
  const { betas, gradClip } = settings;
  const sizes = trained.slots.map(({ shape }) => sizeOf(shape) * 4);
  const moments = { m: cut(device, sizes, "adamw m"), v: cut(device, sizes, "adamw v") };
  const table = uploadTable(device, blocks);
  const scalars = persistent(
    device,
    [1 + mostSkipped(lossScale, saturation(betas)), 4],
    "f32",
    "adamw scalars",
  );
  const clip = persistent(device, [CLIP_WIDTH], "f32", "gradient norm and clip factor");
  const clipping = { arena: trained, blocks, table, maxNorm: gradClip, lossScale };
  let program: Program | undefined;
  const optimizer: Optimizer = {
    steps: 0,
    tensors: new Map([
      ...named(device, trained, moments),
      ...(lossScale.growEvery > 0 ? ([["lossScale", lossScale.state]] as const) : []),
    ]),
    clip,
    update(): void {
      clipFactor(clipping, clip);
      adamw(trained, moments, blocks, { table, scalars, clip }, settings);
    },
    prepare(lr): void {
      const step = ++optimizer.steps;
      const rows = Array.from({ length: scalars.dim(0) }, (_, k) => scalarsAt(step - k, lr, settings));
      scalars.write(rows.flat());
    },
    step(lr): void {
      optimizer.prepare(lr);
      program?.run();
    },
    dispose(): void {
      program?.dispose();
      const small = [table, scalars, clip, lossScale.state].map(({ storage }) => storage);
      const storages = [moments.m.whole, moments.v.whole, ...small];
      for (const { place } of storages) device.destroyBuffer(place!.buffer);
    },
  };
  program = await record(device, "adamw", () => optimizer.update());
  return optimizer;
}

/** What a step needs of the host, for t = `t`; 1 where fewer were not skipped than there are rows for. */
function scalarsAt(t: number, lr: number, { betas, weightDecay }: Settings): number[] {
  const [c1, c2] = betas.map((beta) => 1 - beta ** Math.max(1, t)) as [number, number];
  return [lr * weightDecay, lr / c1, 1 / Math.sqrt(c2), 0];
}

/** Steps after which bias corrections are 1 in f32: beta^t is under 2^-25. At most 2^20: rows for later steps are alike. */
const saturation = (betas: readonly number[]): number =>
  Math.min(2 ** 20, Math.ceil(Math.max(1, ...betas.map((beta) => (-25 * Math.LN2) / Math.log(beta)))));

type Moments = Readonly<Record<"m" | "v", ReturnType<typeof cut>>>;

function adamw(
  trained: TrainedArena,
  { m, v }: Moments,
  { windows }: Blocks,
  small: Readonly<Record<"table" | "scalars" | "clip", Tensor>>,
  { betas: [beta1, beta2], eps }: Settings,
): void {
  for (const window of windows) {
    const arenas = { values: trained.values, grads: trained.grads, m: m.whole, v: v.whole };
    const views = Object.entries(arenas).map(([name, storage]) => [name, windowOf(storage, window)] as const);
    const { first, count } = window;
    call(kernel, "update", {
      bindings: { ...Object.fromEntries(views), ...small },
      params: {
        first,
        blocks: count,
        beta1,
        beta2,
        rest1: 1 - beta1,
        rest2: 1 - beta2,
        eps,
        last: small.scalars.dim(0) - 1,
      },
      workgroups: grid(count),
    });
  }
}

function named(device: Device, { slots }: TrainedArena, moments: Moments): Map<string, Tensor> {
  const entries = (["m", "v"] as const).flatMap((kind) =>
    slots.map(({ name, shape }, i) => {
      const tensor = new Tensor(device, shape, "f32", moments[kind].slices[i]!);
      return [`${kind}.${name}`, tensor] as const;
    }),
  );
  return new Map(entries);
}

function check(options: AdamWOptions): Settings {
  const { betas = [0.9, 0.95], eps = 1e-8, weightDecay = 0, gradClip = 0 } = options;
  const rules: [string, number, boolean][] = [
    ["betas[0]", betas[0], betas[0] >= 0 && betas[0] < 1],
    ["betas[1]", betas[1], betas[1] >= 0 && betas[1] < 1],
    ["eps", eps, eps > 0],
    ["weightDecay", weightDecay, weightDecay >= 0],
    ["gradClip", gradClip, gradClip >= 0 && gradClip < Infinity],
  ];
  for (const [name, value, good] of rules) {
    if (good) continue;
    const wanted = name.startsWith("betas")
      ? "0 <= beta < 1"
      : name === "eps"
        ? "a number above 0"
        : "a number >= 0";
    throw new ConfigError(`adamw: ${name} is ${value}; expected ${wanted}`);
  }
  return { betas, eps, weightDecay, gradClip };
}
