/** The blocks of a transformer, one after the other. */
import { checkpoint } from "../optim/checkpoint.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Computing } from "./lm.ts";

/** `x` through blocks 0 … count - 1, each of which keeps all it needs for the way back, or only its input. */
export function stack(
  x: Tensor,
  count: number,
  block: (x: Tensor, layer: number) => Tensor,
  { checkpointing }: Computing,
): Tensor {
  for (let layer = 0; layer < count; layer++) {
    x = checkpointing ? checkpoint((start) => block(start, layer), x) : block(x, layer);
  }
  return x;
}
