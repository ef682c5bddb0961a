/** Clipping by the global norm; the norm and its factor never leave the GPU unless a log asks for them. */
import { grid } from "../gpu/call.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";
import { type Blocks, type TrainedArena, windowOf } from "./arena.ts";
import type { LossScale } from "./loss-scale.ts";

const kernel = await loadKernel("clip");

/** Columns of what {@link clipFactor} writes, and {@link outcomesIn} reads. */
export const CLIP_WIDTH = 4;

/** Where gradients are, and how they are limited. */
export interface Clipping {
  readonly arena: TrainedArena;
  readonly blocks: Blocks;
  /** The blocks on the GPU (`uploadTable`). */
  readonly table: Tensor;
  /** 0 = do not clip: the factor is 1, the norm is still there for logs. */
  readonly maxNorm: number;
  /** What the gradients are multiplied by, and what becomes of it. */
  readonly lossScale: LossScale;
}

/**
 * Records norm = ‖all gradients / scale‖₂ and factor = min(1, maxNorm / (norm + 1e-6)) / scale into `clip` [4] =
 * (norm, factor, scale, steps skipped so far), as torch.nn.utils.clip_grad_norm_ does, and lets the loss scale adapt.
 * The gradients stay as they are: the optimizer applies the factor, or skips the step where that is -1.
 */
export function clipFactor({ arena, blocks, table, maxNorm, lossScale }: Clipping, clip: Tensor): void {
  const partials = empty([Math.max(1, blocks.table.length)], "f32", "squares of gradients");
  const scaling = lossScale.state;
  const settings = { max_norm: maxNorm, grow_every: lossScale.growEvery };
  for (const window of blocks.windows) {
    const { first, count } = window;
    call(kernel, "squares", {
      bindings: { grads: windowOf(arena.grads, window), table, partials, scaling },
      params: { first, blocks: count, ...settings },
      workgroups: grid(count),
    });
  }
  const params = { first: 0, blocks: blocks.table.length, ...settings };
  call(kernel, "norm", { bindings: { partials, clip, scaling }, params, workgroups: [1, 1, 1] });
}

/** How an optimizer step went. */
export interface Outcome {
  /** Norm of the gradients before clipping, without the loss scale. */
  readonly gradNorm: number;
  /** Gradients overflowed, and neither weights nor moments have changed. */
  readonly skipped: boolean;
  /** Skipped at scale 1: without scaling it would have overflowed too. */
  readonly diverged: boolean;
  /** The loss scale of this step; the next one's may differ. */
  readonly lossScale: number;
  /** Steps skipped since the run began, this one included. */
  readonly skips: number;
}

/** The outcomes in copies of optimizers' `clip`, one after the other. */
export function outcomesIn(values: Float32Array, count: number): Outcome[] {
  return Array.from({ length: count }, (_, i) => {
    const at = (column: number): number => values[i * CLIP_WIDTH + column]!;
    const [gradNorm, lossScale, skips] = [at(0), at(2), at(3)];
    const skipped = at(1) < 0;
    return { gradNorm, skipped, diverged: skipped && lossScale <= 1, lossScale, skips };
  });
}
