/** Between f32 and f16: `cast`, and f16 copies of tensors that products read and the way back keeps. */
import { DeviceError } from "../errors.ts";
import { addSelfTest, type Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { type Recording, recording } from "../gpu/recording.ts";
import { call, defineOp, need, type Op, strided } from "../tensor/op.ts";
import { type Dtype, empty, input, record, Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("cast");

/** The type to cast to. */
export interface CastAttrs {
  readonly to: "f32" | "f16";
}

const VEC4: Readonly<Record<CastAttrs["to"], string>> = { f32: "vec4f", f16: "vec4h" };

function run(x: Tensor, to: CastAttrs["to"]): Tensor {
  const { dtype } = x;
  need(dtype !== "u32", "cast: x is u32; expected f32 or f16");
  needHalves(x.device);
  const y = empty(x.shape, to, `cast to ${to}`);
  const n4 = Math.ceil(x.size / 4);
  const constants = { S: VEC4[dtype], T: VEC4[to] };
  call(kernel, "convert", { bindings: { x, y }, params: { n4 }, constants, workgroups: strided(n4) });
  return y;
}

const half16 = { dtype: "f16" as Dtype, fill: (i: number): number => (((i * 13 + 5) % 31) - 15) / 8 };

/** The same numbers in another type, rounded to nearest; the gradient, which is f32 whatever the type, passes. */
export const castOp: Op<[x: Tensor], CastAttrs> = defineOp<[x: Tensor], CastAttrs>({
  name: "cast",
  arity: 1,
  forward: ([x], { to }) => run(x, to),
  backward: ({ dy: [dy] }) => [dy],
  reference: ([x]) => [x!],
  // Numbers that f16 holds exactly; test/ops/cast.test.ts has the rounding.
  cases: [[1], [7], [3, 5], [2, 64]].flatMap((shape) => [
    { inputs: [{ ...half16, shape, dtype: "f32" }], attrs: { to: "f16" }, name: `[${shape}] to f16` },
    { inputs: [{ ...half16, shape }], attrs: { to: "f32" }, name: `[${shape}] to f32` },
  ]),
});

/** Numbers, and what f16 makes of them: the nearest it has, of two the even one; the smallest and the largest stay. */
const ROUNDED: readonly (readonly [number, number])[] = [
  [1 + 2 ** -11, 1],
  [1 + 3 * 2 ** -11, 1 + 2 ** -9],
  [-0.1, -0.0999755859375],
  [2 ** -24, 2 ** -24],
  [65504, 65504],
];

addSelfTest({
  tier: "f16",
  what: "cast, f32 to f16 and back",
  async run(device) {
    const program = await record(device, "self-test of cast", () => {
      const x = input([ROUNDED.length]);
      return { x, y: run(run(x, "f16"), "f32") };
    });
    const { x, y } = program.result;
    x.write(ROUNDED.map(([value]) => value));
    program.run();
    const got = await y.read();
    program.dispose();
    const wrong = ROUNDED.findIndex(([, expected], i) => got[i] !== expected);
    if (wrong >= 0)
      throw new Error(`${ROUNDED[wrong]![0]} became ${got[wrong]}, expected ${ROUNDED[wrong]![1]}`);
  },
});

/**
 * x as f32 or f16; x itself where it is that already.
 * @throws ShapeError for a u32 tensor; DeviceError where the device has no f16
 */
export const cast = (x: Tensor, to: CastAttrs["to"]): Tensor => (x.dtype === to ? x : castOp(x, { to }));

/** Whether tensors of `device` may be f16. */
export const hasHalves = (device: Device): boolean => device.gpu.features.has("shader-f16");

/**
 * Refuses devices without f16.
 * @throws DeviceError with what to do
 */
export function needHalves(device: Device): void {
  if (hasHalves(device)) return;
  throw new DeviceError(
    `device ${device.name}: has no 16-bit floats (feature shader-f16); mixed precision needs them. Compute in f32`,
  );
}

/** The f16 copies of each program, by tensor, and of tensors that outlive it by their place. */
const copies = new WeakMap<Recording, Map<Tensor | string, Tensor>>();

/**
 * The f16 copy of `x`, made once a program: of a weight, whatever uses it; of an activation, from which the way back
 * then reads it (`Tensor.again`), so that the f32 one need not live until then. Each use brings its gradient to `x`.
 * @throws DeviceError where the device has no f16
 */
export function half(x: Tensor): Tensor {
  if (x.dtype === "f16") return x;
  const known = copies.get(recording()) ?? new Map<Tensor | string, Tensor>();
  copies.set(recording(), known);
  const { storage, offset, size } = x;
  const key = storage.place
    ? `${bufferId(storage.place.buffer)} ${storage.place.offset + offset} ${size}`
    : x;
  const copy = known.get(key) ?? run(x, "f16");
  known.set(key, copy);
  if (!storage.place) x.again ??= () => run(copy, "f32");
  return useOf(copy, x);
}

/** `copy` as a tensor of its own, in the shape of `x`, whose gradient goes to `x`: whoever made it first may need none. */
function useOf(copy: Tensor, x: Tensor): Tensor {
  const use = new Tensor(x.device, x.shape, "f16", copy.storage, copy.offset);
  if (x.needsGrad) use.node = { name: "half", inputs: [x], outputs: [use], backward: ([dy]) => [dy] };
  return use;
}

const ids = new WeakMap<GPUBuffer, number>();
let buffers = 0;

function bufferId(buffer: GPUBuffer): number {
  const id = ids.get(buffer) ?? buffers++;
  ids.set(buffer, id);
  return id;
}
