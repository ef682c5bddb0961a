/** Any op as a job: alone, or with its way back. */
import type { Device } from "../../gpu/device.ts";
import { backwardFrom } from "../../optim/gradients.ts";
import type { AnyOp, NdArray } from "../../tensor/op.ts";
import { input, persistent, record, type Shape, type Tensor } from "../../tensor/tensor.ts";
import { type Job, type Plan, relativeError, values } from "../job.ts";

/** Inputs of an op: shapes to fill with normal values, ids of their own, or none. */
export type Given = readonly (
  | Shape
  | { readonly ids: Uint32Array<ArrayBuffer>; readonly shape: Shape }
  | undefined
)[];

/** What one run costs; see {@link Job}. */
export type Cost = Partial<Pick<Job, "flops" | "bytes">>;

/** An op to be timed. */
export interface OpTask {
  readonly name: string;
  readonly op: AnyOp;
  readonly given: Given;
  readonly attrs: object;
  readonly cost: Cost;
  /** With its way back, from a gradient of normal values. */
  readonly learns: boolean;
}

/** The forward result is checked against the op's float64 reference; the conformance test checks gradients. */
export function opPlan(task: OpTask): Plan {
  const name = task.learns ? `${task.name} forward + backward` : task.name;
  return { name, make: (device) => makeOp(device, task) };
}

/** {@link opPlan}, ready to run. */
export async function makeOp(device: Device, { name, op, given, attrs, cost, learns }: OpTask): Promise<Job> {
  const arrays = given.map((g, i) => {
    if (!g) return undefined;
    return "ids" in g ? { shape: g.shape, data: g.ids } : { shape: g, data: values(`${name} ${i}`, g) };
  });
  const program = await record(device, name, () => {
    const inputs = arrays.map((g) => g && input(g.shape, g.data instanceof Uint32Array ? "u32" : "f32"));
    if (learns) for (const x of inputs) if (x?.dtype === "f32") x.grad = persistent(device, x.shape);
    const made = op(...inputs, attrs) as Tensor | readonly Tensor[];
    const y = (Array.isArray(made) ? made[0] : made) as Tensor;
    const dy = input(y.shape);
    if (learns) backwardFrom(y, dy);
    return { inputs, grads: inputs.flatMap((x) => x?.grad ?? []), y, dy };
  });
  const { inputs, grads, y, dy } = program.result;
  inputs.forEach((x, i) => x?.write(arrays[i]!.data));
  dy.write(values("dy", dy.shape));
  return {
    flops: 0,
    bytes: 0,
    ...cost,
    tolerance: 1e-5,
    submit: (times) => program.run(times),
    dispose() {
      program.dispose();
      for (const { storage } of grads) device.destroyBuffer(storage.place!.buffer);
    },
    async check() {
      program.run();
      const float64 = arrays.map(
        (g): NdArray | undefined => g && { shape: g.shape, data: Float64Array.from(g.data) },
      );
      return relativeError(await y.read(), op.reference(float64, attrs)[0]!.data);
    },
  };
}
