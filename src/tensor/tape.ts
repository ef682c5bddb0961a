/** The way back: gradients from a scalar to every parameter that it depends on. */
import { ShapeError } from "../errors.ts";
import { type Node, Tensor } from "./tensor.ts";

/** How gradients start, meet and end; the kernels for it live a floor above. */
export interface Rules {
  /** dloss/dloss: a tensor of ones. */
  ones(like: Tensor): Tensor;
  /** The sum of two gradients of one tensor. */
  add(a: Tensor, b: Tensor): Tensor;
  /** grad += dy, in place. */
  accumulate(grad: Tensor, dy: Tensor): void;
}

/**
 * Walks back from `outputs` whose gradients are `seeds`, adding into `grad` of every parameter on the way.
 * @returns the gradient of each of `wanted`, undefined where none arrives
 * @throws ShapeError when a rule returns a gradient of another shape than its input
 */
export function backpropagate(
  outputs: readonly Tensor[],
  seeds: readonly Tensor[],
  rules: Rules,
  wanted: readonly Tensor[] = [],
): (Tensor | undefined)[] {
  const grads = new Map<Tensor, Tensor>();
  const deliver = (to: Tensor, dy: Tensor): void => {
    const so = grads.get(to);
    grads.set(to, so ? rules.add(so, dy) : dy);
  };
  outputs.forEach((out, i) => deliver(out, seeds[i]!));
  for (const node of fromLastToFirst(outputs)) {
    const dy = node.outputs.map((out) => grads.get(out));
    if (dy.every((d) => d === undefined)) continue;
    const take = (i: number): Tensor | undefined => {
      const x = node.inputs[i];
      const so = x && grads.get(x);
      if (x) grads.delete(x);
      return so;
    };
    node.backward(dy, take).forEach((dx, i) => {
      const x = node.inputs[i];
      if (!dx || !x?.needsGrad) return;
      if (dx.size !== x.size)
        throw new ShapeError(
          `${node.name}: gradient of input ${i} is [${dx.shape}], the input is [${x.shape}]`,
        );
      if (x.grad) rules.accumulate(x.grad, dx);
      else deliver(x, dx);
    });
    if (!wanted.some((w) => node.outputs.includes(w))) for (const out of node.outputs) grads.delete(out);
  }
  return wanted.map((w) => grads.get(w));
}

/** The nodes behind `outputs`, each after all that use it. Iterative: graphs are deeper than call stacks. */
function fromLastToFirst(outputs: readonly Tensor[]): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack: { node: Node; next: number }[] = [];
  const push = (t: Tensor | undefined): void => {
    if (t?.node && !seen.has(t.node)) {
      seen.add(t.node);
      stack.push({ node: t.node, next: 0 });
    }
  };
  for (const out of outputs) {
    push(out);
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      if (top.next < top.node.inputs.length) push(top.node.inputs[top.next++]);
      else order.push(stack.pop()!.node);
    }
  }
  return order.reverse();
}
