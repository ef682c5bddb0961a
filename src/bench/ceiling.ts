/** What this adapter can do at best: arithmetic and memory, each measured with a kernel that does nothing else. */
import { grid } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import type { Program } from "../gpu/program.ts";
import { call } from "../tensor/op.ts";
import { empty, input, record, type Tensor } from "../tensor/tensor.ts";
import { timePortion, type Timing, warmUp } from "./time.ts";

const kernel = await loadKernel("ceiling");

/** A rate on the wall clock, and for two cores' worth of processor time on software adapters. */
export interface Rate {
  readonly wall: number;
  readonly perTwoCores?: number;
}

/** The roof over every kernel. */
export interface Ceilings {
  /** Fused multiply-adds in f32, GFLOP/s (two operations each). */
  readonly gflops: Rate;
  /** A copy from and to memory, GB/s, read and written bytes together. */
  readonly gbs: Rate;
}

const REPEATS = 5;
/** A measurement lasts at least so long, milliseconds. */
const LONG_ENOUGH = 30;

/**
 * Measures both, in half a second or so.
 * @throws Error when a kernel does not do what it is to do
 */
export async function measureCeilings(device: Device): Promise<Ceilings> {
  return { gflops: await arithmetic(device), gbs: await bandwidth(device) };
}

/** Chains of multiply-adds a thread: a fourth spills out of the 16 vector registers of a CPU, 110 GFLOP/s become 68. */
const [CHAINS, UNROLL] = [3, 16];

/** A loop of `trips` turns, and the operations in it. */
export async function recordMultiply(
  device: Device,
  trips: number,
): Promise<{ program: Program<Tensor>; flops: number }> {
  const THREADS = device.software ? Math.max(8, device.subgroupSize) : 256;
  const groups = device.software ? 64 : 4096;
  const program = await record(device, "ceiling: multiply", () => {
    const y = input([4 * THREADS * groups]);
    const params = { n4: 0, trips, factor: 0.5, addend: 0.5 };
    const constants = { THREADS, CHAINS, UNROLL };
    call(kernel, "multiply", { bindings: { y }, params, constants, workgroups: [groups, 1, 1] });
    return y;
  });
  return { program, flops: 2 * 4 * CHAINS * UNROLL * trips * THREADS * groups };
}

/** Made longer until it lasts. */
async function arithmetic(device: Device): Promise<Rate> {
  for (let trips = 64; ; trips *= 4) {
    const { program, flops } = await recordMultiply(device, trips);
    const timing = await best(device, program);
    const [first] = await program.result.read();
    program.dispose();
    if (Math.abs(first! - CHAINS) > 1e-3) throw new Error(`ceiling: multiply gave ${first}, not ${CHAINS}`);
    if (timing.wall >= LONG_ENOUGH || trips >= 2 ** 22) return rateOf(flops, timing);
  }
}

/** A copy of `n` floats, each workgroup a contiguous piece. */
export function recordCopy(device: Device, n: number): Promise<Program<{ x: Tensor; y: Tensor }>> {
  const [THREADS, perThread] = device.software ? [8, 256] : [64, 4];
  return record(device, "ceiling: copy", () => {
    const [x, y] = [input([n]), empty([n])];
    const params = { n4: n / 4, trips: perThread, factor: 0, addend: 0 };
    const workgroups = grid(Math.ceil(n / 4 / THREADS / perThread));
    const constants = { THREADS, CHAINS: 1, UNROLL: 1 };
    call(kernel, "copy", { bindings: { x, y }, params, constants, workgroups });
    return { x, y };
  });
}

/** Larger than the caches of a GPU; a software adapter has no memory of its own to spare. */
async function bandwidth(device: Device): Promise<Rate> {
  const n = device.software ? 1 << 22 : 1 << 24;
  const program = await recordCopy(device, n);
  const { x, y } = program.result;
  x.write(Float32Array.from({ length: n }, (_, i) => i % 1000));
  const timing = await best(device, program);
  const copied = await y.read();
  program.dispose();
  if (copied.some((value, i) => value !== i % 1000)) throw new Error("ceiling: the copy is no copy");
  return rateOf(8 * n, timing);
}

/** The best of some portions, after one that compiles. */
async function best(device: Device, program: Program): Promise<Timing> {
  const portion = (times: number): Promise<Timing> => timePortion(device, () => program.run(times));
  await portion(1);
  const { wall } = await portion(1);
  const times = Math.max(1, Math.ceil(LONG_ENOUGH / wall / 2));
  await warmUp(device, () => program.run(times));
  const all: Timing[] = [];
  for (let i = 0; i < REPEATS; i++) all.push(await portion(times));
  const least = (key: keyof Timing): number => Math.min(...all.map((t) => t[key])) / times;
  return { wall: least("wall"), cpu: least("cpu") };
}

function rateOf(work: number, { wall, cpu }: Timing): Rate {
  return { wall: work / wall / 1e6, ...(cpu > 0 && { perTwoCores: (2 * work) / cpu / 1e6 }) };
}
