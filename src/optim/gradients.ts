/** `backward(loss)`: gradients of a scalar, accumulated into the parameters' `grad`. */
import { loadKernel } from "../gpu/kernel.ts";
import { addTo } from "../ops/copy.ts";
import { call, need, strided } from "../tensor/op.ts";
import { backpropagate, type Rules } from "../tensor/tape.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";
import type { LossScale } from "./loss-scale.ts";

const kernel = await loadKernel("gradients");

const run = (entry: "ones" | "seed" | "add", bindings: Record<string, Tensor>, n: number): void => {
  const n4 = Math.ceil(n / 4);
  call(kernel, entry, { bindings, params: { n4 }, workgroups: strided(n4) });
};

/** Gradients as kernels make them. */
export const rules: Rules = {
  ones(like) {
    const y = empty(like.shape, "f32", "ones");
    run("ones", { y }, like.size);
    return y;
  },
  add(a, b) {
    const y = empty(a.shape, "f32", "gradient sum");
    run("add", { a, b, y }, a.size);
    return y;
  },
  accumulate: addTo,
};

/**
 * Records the backward pass of `loss` (one element) into the program being recorded. Each parameter's
 * gradient is added to its `grad`, in a fixed order: run twice, the gradients double.
 * @param scale multiplies every gradient; an optimizer with the same one takes it out again
 * @throws ShapeError when `loss` is not a scalar or depends on no parameter
 */
export function backward(loss: Tensor, scale?: LossScale): void {
  need(
    loss.size === 1,
    `backward: the loss must be one number, got [${loss.shape}]; reduce it with sum() or mean()`,
  );
  need(loss.node !== undefined, "backward: the loss depends on no parameter that is trained");
  backpropagate([loss], [scale ? seed(loss, scale) : rules.ones(loss)], rules);
}

function seed(like: Tensor, { state }: LossScale): Tensor {
  const y = empty(like.shape, "f32", "loss scale");
  run("seed", { scale: state, y }, like.size);
  return y;
}

/** The backward pass from a tensor of any shape whose gradient `dy` is known. */
export function backwardFrom(y: Tensor, dy: Tensor): void {
  backpropagate([y], [dy], rules);
}
