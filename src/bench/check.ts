/**
 * One check for every op, ours and a user's: forward against its float64 reference, backward against central differences of
 * that, in every variant, in memory that held NaN before.
 */
import type { Device } from "../gpu/device.ts";
import { backwardFrom } from "../optim/gradients.ts";
import type { AnyOp, Case, CaseInput, NdArray } from "../tensor/op.ts";
import { narrow, widen } from "../tensor/half.ts";
import { type Dtype, input, persistent, record, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";

/** A worst disagreement, for a message one can act on. */
export interface Worst {
  readonly error: number;
  readonly at: number;
  readonly got: number;
  readonly expected: number;
  readonly tolerance: number;
}

const NO_VALUE = new Float32Array([NaN]);

/** Deterministic values of about unit size that f32 holds exactly. */
export function sample(seed: number, n: number): Float64Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float64Array.from({ length: n }, () => Math.fround((next() + next() + next() - 1.5) * 1.6));
}

/** One input of a case: its values and dtype. */
export function build(
  spec: CaseInput | Shape | undefined,
  seed: number,
): { array: NdArray; dtype: Dtype } | undefined {
  if (!spec) return undefined;
  const { shape, fill, dtype = "f32" } = "shape" in spec ? spec : { shape: spec };
  const n = sizeOf(shape);
  const data = fill ? Float64Array.from({ length: n }, (_, i) => Math.fround(fill(i))) : sample(seed, n);
  return { array: { shape, data: dtype === "f16" ? rounded(data) : data }, dtype };
}

/** Values as f16 holds them. */
function rounded(values: Float64Array): Float64Array {
  const [halves, back] = [new Uint16Array(values.length), new Float32Array(values.length)];
  narrow("F16", Float32Array.from(values), halves);
  widen("F16", halves, back);
  return Float64Array.from(back);
}

/** The largest disagreement of two arrays, relative to the largest expected entry. */
export function worstOf(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): Worst {
  let scale = 1e-3;
  for (let i = 0; i < expected.length; i++)
    if (Number.isFinite(expected[i])) scale = Math.max(scale, Math.abs(expected[i]!));
  let worst: Worst = { error: 0, at: -1, got: 0, expected: 0, tolerance };
  for (let i = 0; i < expected.length; i++) {
    const same = got[i] === expected[i];
    const error = same ? 0 : Math.abs(got[i]! - expected[i]!) / scale;
    if (!(error <= worst.error)) worst = { error, at: i, got: got[i]!, expected: expected[i]!, tolerance };
  }
  return worst;
}

/** A case that was run: what of it agrees how well. */
export interface Checked {
  /** The case, by its name or its shapes, and the variant. */
  readonly name: string;
  readonly worst: ReadonlyMap<string, Worst>;
  /** Everything within tolerance. */
  readonly right: boolean;
}

/** What a case is called: its name, or the shapes of its inputs. */
export const caseName = ({ name, inputs }: Case<object>): string =>
  name ?? inputs.map((i) => (i ? `[${"shape" in i ? i.shape : i}]` : "-")).join(" ");

/** "gradient of input 0: element 11 is 2.1, expected 1.26; error 6.02e-1 of the largest, allowed 0.00001" */
export const worstText = (what: string, { error, at, got, expected, tolerance }: Worst): string =>
  `${what}: element ${at} is ${got}, expected ${expected}; error ${error.toExponential(2)} of the largest, allowed ${tolerance}`;

/** Runs every case of an op in every variant that the device has. */
export async function* checkOp(device: Device, op: AnyOp): AsyncGenerator<Checked> {
  for (const variant of op.variants?.(device) ?? [undefined])
    for (const test of op.cases) {
      const worst = await runCase(device, op, test, variant);
      const right = [...worst.values()].every(({ error, tolerance }) => error <= tolerance);
      yield { name: `${caseName(test)}${variant ? ` (${variant})` : ""}`, worst, right };
    }
}

/** Runs one case on the device. Returns the worst disagreement of every output and every gradient. */
export async function runCase(
  device: Device,
  op: AnyOp,
  test: Case<object>,
  variant?: string,
): Promise<Map<string, Worst>> {
  const inputs = test.inputs.map((spec, i) => build(spec, i + 1));
  const attrs = { ...test.attrs, ...(variant ? { variant } : {}) };
  const references = op.reference(
    inputs.map((x) => x?.array),
    test.attrs ?? {},
  );
  const wantsGrad = op.backward !== undefined && test.backward !== false;
  const program = await record(device, `${op.name} case`, () => {
    const tensors = inputs.map((x) => x && input(x.array.shape, x.dtype));
    if (wantsGrad) tensors.forEach((t) => t && t.dtype !== "u32" && (t.grad = persistent(device, t.shape)));
    const made = op(...tensors, attrs) as Tensor | readonly Tensor[];
    const outputs = Array.isArray(made) ? (made as readonly Tensor[]) : [made as Tensor];
    const dys = references.map((r) => input(r.shape));
    const grads = tensors.map((t) => t?.grad);
    if (wantsGrad) outputs.forEach((out, i) => references[i] && backwardFrom(out, dys[i]!));
    return { tensors, outputs, dys, grads };
  });
  poison(device);
  const { tensors, outputs, dys, grads } = program.result;
  // An op on f16 rounds what comes back as well: here there is nothing to round.
  const halves = inputs.some((x) => x?.dtype === "f16") || outputs.some((y) => y.dtype === "f16");
  const dyValues = references.map((r, i) => {
    const values = sample(100 + i, r.data.length);
    return halves ? rounded(values) : values;
  });
  tensors.forEach((t, i) => t?.write(inputs[i]!.array.data));
  dys.forEach((t, i) => t.write(dyValues[i]!));
  for (const out of outputs) if (out.dtype !== "u32") out.write(new Float32Array(out.size).fill(NaN));
  program.run();
  const worst = new Map<string, Worst>();
  const tolerance = test.tolerance ?? 1e-5;
  for (const [i, expected] of references.entries()) {
    const got = outputs[i]!.dtype !== "u32" ? await outputs[i]!.read() : await outputs[i]!.readU32();
    worst.set(`output ${i}`, worstOf(got, expected.data, tolerance));
  }
  for (const [i, grad] of grads.entries()) {
    if (!grad) continue;
    const expected = centralDifference(
      op,
      test,
      inputs.map((x) => x?.array),
      i,
      dyValues,
    );
    worst.set(`gradient of input ${i}`, worstOf(await grad.read(), expected, tolerance));
  }
  program.dispose();
  return worst;
}

/** Whatever scratch memory held before must not matter. */
function poison(device: Device): void {
  for (const buffer of device.scratch) {
    device.gpu.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NO_VALUE[0]!));
  }
}

/** d(sum of dy·y)/dx of the float64 reference, by central differences of fourth order. */
function centralDifference(
  op: AnyOp,
  test: Case<object>,
  inputs: readonly (NdArray | undefined)[],
  which: number,
  dy: readonly Float64Array[],
): Float64Array {
  const x = inputs[which]!;
  const at = (i: number, delta: number): number => {
    const data = Float64Array.from(x.data);
    data[i]! += delta;
    const outputs = op.reference(
      inputs.map((a, j) => (j === which ? { shape: x.shape, data } : a)),
      test.attrs ?? {},
    );
    return outputs.reduce((sum, y, k) => sum + y.data.reduce((s, v, j) => s + v * dy[k]![j]!, 0), 0);
  };
  const h = 1e-3;
  return x.data.map((_, i) => (8 * (at(i, h) - at(i, -h)) - (at(i, 2 * h) - at(i, -2 * h))) / (12 * h));
}
