/** Self-tests made of an op's own cases: a variant against the float64 reference, and its gradients against the plain variant. */
import { addSelfTest, type Device } from "../gpu/device.ts";
import type { TierName } from "../gpu/tiers.ts";
import type { AnyOp, Case, NdArray } from "../tensor/op.ts";
import { type Dtype, input, record, sizeOf, type Tensor } from "../tensor/tensor.ts";

/** What to try when a device is opened. */
export interface VariantTest {
  readonly tier: TierName;
  readonly variant: string;
  /** The name of one of the op's cases. */
  readonly on: string;
  /** Largest difference relative to the largest value; 1e-4, and more where operands are rounded to f16. */
  readonly tolerance?: number;
}

/** Adds self-tests of an op's variants; each runs only where the op lists its variant for the device. */
export function testVariants(op: AnyOp, tests: readonly VariantTest[]): void {
  for (const { tier, variant, on, tolerance = 1e-4 } of tests) {
    addSelfTest({
      tier,
      what: `${op.name}, ${variant}, ${on}`,
      run: async (device) => {
        if ([op.variants, op.roundingVariants].some((list) => list?.(device).includes(variant)))
          await compare(
            device,
            op,
            op.cases.find(({ name }) => name === on)!,
            variant,
            tolerance,
          );
      },
    });
  }
}

/** Values of either sign, at most 1. */
const spread = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) =>
    Math.fround((((i + 1) * 7919 + seed * 104729) % 1009) / 504.5 - 1),
  );

async function compare(
  device: Device,
  op: AnyOp,
  on: Case<object>,
  variant: string,
  tolerance: number,
): Promise<void> {
  const arrays = on.inputs.map((spec, seed): (NdArray & { dtype: Dtype }) | undefined => {
    if (!spec) return undefined;
    const { shape, fill, dtype = "f32" } = "shape" in spec ? spec : { shape: spec };
    const n = sizeOf(shape);
    return {
      shape,
      dtype,
      data: fill ? Float64Array.from({ length: n }, (_, i) => fill(i)) : spread(n, seed),
    };
  });
  const [expected] = op.reference(arrays, on.attrs ?? {}) as [NdArray];
  const program = await record(device, `self-test of ${op.name}`, () => {
    const inputs = arrays.map((x) => x && input(x.shape, x.dtype));
    const dy = input(expected.shape);
    const both = [variant, "plain"].map((name) =>
      forwardAndBackward(op, inputs, { ...on.attrs, variant: name }, dy),
    );
    return { inputs, dy, tried: both[0]!, plain: both[1]! };
  });
  const { inputs, dy, tried, plain } = program.result;
  inputs.forEach((x, i) => x?.write(arrays[i]!.data));
  dy.write(spread(expected.data.length, 9));
  program.run();
  agree("the result", await tried[0]!.read(), expected.data, tolerance);
  for (let i = 1; i < tried.length; i++)
    agree(`gradient ${i}`, await tried[i]!.read(), await plain[i]!.read(), tolerance);
  program.dispose();
}

/** The op's value, then the gradients it gives. */
function forwardAndBackward(
  op: AnyOp,
  inputs: readonly (Tensor | undefined)[],
  attrs: object,
  dy: Tensor,
): Tensor[] {
  const outputs = [op.forward(inputs, attrs)].flat() as Tensor[];
  const needs = inputs.map((x) => x?.dtype === "f32");
  const gradients =
    op.backward?.({ inputs, outputs, attrs, dy: [dy], needs, into: [], take: () => undefined }) ?? [];
  return [outputs[0]!, ...gradients.filter((x) => x !== undefined)];
}

function agree(what: string, got: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  const all = Array.from(expected);
  const largest = Math.max(1e-3, ...all.map(Math.abs));
  const at = all.findIndex((value, i) => !(Math.abs(got[i]! - value) <= tolerance * largest));
  if (at >= 0) throw new Error(`${what}: element ${at} is ${got[at]}, expected ${all[at]}`);
}
