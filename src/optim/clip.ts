/** Clipping by the global norm; the norm and its factor never leave the GPU unless a log asks for them. */
import { grid } from "../gpu/call.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";
import { type Blocks, type TrainedArena, windowOf } from "./arena.ts";

const kernel = await loadKernel("clip");

/**
 * Records norm = ‖all gradients‖₂ and factor = min(1, maxNorm / (norm + 1e-6)) into `clip` [2] = (norm, factor),
 * as torch.nn.utils.clip_grad_norm_ does. The gradients stay as they are: the optimizer applies the factor.
 * @param table the blocks on the GPU (`uploadTable`)
 * @param maxNorm 0 = do not clip: the factor is 1, the norm is still there for logs
 */
export function clipFactor(
  arena: TrainedArena,
  blocks: Blocks,
  table: Tensor,
  clip: Tensor,
  maxNorm: number,
): void {
  const partials = empty([Math.max(1, blocks.table.length)], "f32", "squares of gradients");
  for (const window of blocks.windows) {
    const { first, count } = window;
    call(kernel, "squares", {
      bindings: { grads: windowOf(arena.grads, window), table, partials },
      params: { first, blocks: count, max_norm: maxNorm },
      workgroups: grid(count),
    });
  }
  const params = { first: 0, blocks: blocks.table.length, max_norm: maxNorm };
  call(kernel, "norm", { bindings: { partials, clip }, params, workgroups: [1, 1, 1] });
}
