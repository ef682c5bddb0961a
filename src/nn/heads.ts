/** The head that reads a value from a hidden state. */
import { relu } from "../ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ParameterSpec, torchLinear } from "./init.ts";
import { linear } from "./linear.ts";
import type { Parameters } from "./parameters.ts";

/** The name under which trlx stores its value head. */
export const VALUE_HEAD = "v_head";

/** Linear(d, 2d), ReLU, Linear(2d, 1) with torch's default initial values, as trlx's value head has them. */
export function valueHeadSpecs(nEmbd: number, name: string = VALUE_HEAD): ParameterSpec[] {
  const inner = 2 * nEmbd;
  const layer = (i: number, fanIn: number, fanOut: number): ParameterSpec[] => [
    { name: `${name}.${i}.weight`, shape: [fanOut, fanIn], init: torchLinear(fanIn), decay: true },
    { name: `${name}.${i}.bias`, shape: [fanOut], init: torchLinear(fanIn), decay: false },
  ];
  return [...layer(0, nEmbd, inner), ...layer(2, inner, 1)];
}

/**
 * The value of each hidden state (after the final norm); its gradient reaches the trunk.
 * @param hidden [R, C]
 * @returns [R]
 */
export function valueHead(parameters: Parameters, hidden: Tensor, name: string = VALUE_HEAD): Tensor {
  const layer = (i: number, x: Tensor): Tensor =>
    linear(x, parameters.get(`${name}.${i}.weight`), parameters.get(`${name}.${i}.bias`), "out_in");
  return layer(2, relu(layer(0, hidden))).reshape(-1);
}
