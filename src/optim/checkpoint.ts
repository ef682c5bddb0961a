/** Gradient checkpointing: what a function computes on its way is computed again on the way back, and not kept. */
import { backpropagate } from "../tensor/tape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { rules } from "./gradients.ts";

/**
 * `fn(...inputs)`, of which only the inputs stay in memory: the way back calls `fn` again and goes back through that
 * (Chen et al. 2016, "Training deep nets with sublinear memory cost"). One more forward pass buys the memory of all
 * that `fn` would have kept. The recomputed bits are equal, and so are the gradients.
 * @param fn a pure function that records ops; it may use parameters, and tensors without a gradient, beside `inputs`
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  const once = fn(...inputs.map(leaf));
  if (!once.needsGrad) return once;
  const output = once.detach();
  output.node = {
    name: "checkpoint",
    inputs,
    outputs: [output],
    backward([dy]) {
      const leaves = inputs.map(leaf);
      return backpropagate([fn(...leaves)], [dy!], rules, leaves);
    },
  };
  return output;
}

/** The same elements where a graph begins: gradients arrive there and go no further. */
function leaf(x: Tensor): Tensor {
  const start = x.detach();
  if (x.needsGrad) start.node = { name: "leaf", inputs: [], outputs: [start], backward: () => [] };
  return start;
}
