/**
 * Times of single kernel calls, as they happen: while a profiler watches a device, every call of a run gets a pass of its
 * own with a timestamp before and after. For measuring only: passes cost time, and the queries memory.
 */
import type { Call } from "./call.ts";
import type { Device } from "./device.ts";
import { dispatchEncoded, type Encoded } from "./encode.ts";

/** A program as the profiler sees it. */
export interface Profiled {
  readonly label: string;
  readonly calls: readonly Call[];
}

/** One run of a program, or its last repetition where it ran several times at once. */
export interface RunTimes<P extends Profiled = Profiled> {
  readonly program: P;
  /** How often it ran in this submit. */
  readonly times: number;
  /** Milliseconds of each call, and when it began, on the GPU's clock; empty without timestamps. */
  readonly ms: Float64Array;
  readonly start: Float64Array;
}

interface Pending {
  readonly program: Profiled;
  readonly times: number;
  readonly sets: readonly GPUQuerySet[];
}

/** Two queries a call; a set holds at most 4096. */
const CALLS_A_SET = 2048;
const [QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ] = [0x0200, 0x0004, 0x0008, 0x0001];
/** Steps of timestamps where browsers and Dawn's defaults make them coarse, nanoseconds. */
const COARSE = 65536n;

const watching = new WeakMap<Device, Profiler>();

/** The profiler that takes the place of plain submission on this device, if one watches. */
export const profilerOf = (device: Device): Profiler | undefined => watching.get(device);

/** Times what programs of a device do. */
export class Profiler {
  readonly device: Device;
  /** Whether the device can tell when a pass began and ended. */
  readonly timestamps: boolean;
  readonly #pending: Pending[] = [];

  constructor(device: Device) {
    this.device = device;
    this.timestamps = device.gpu.features.has("timestamp-query");
  }

  /** Calls `run` while this profiler watches. */
  async watch(run: () => void | Promise<void>): Promise<void> {
    watching.set(this.device, this);
    try {
      await run();
    } finally {
      watching.delete(this.device);
    }
  }

  /** Submits `times` runs, the last of them call by call. */
  submit(program: Profiled, encoded: readonly Encoded[], times: number): void {
    const { gpu } = this.device;
    const encoder = gpu.createCommandEncoder({ label: `${program.label}, profiled` });
    const whole = this.timestamps ? times - 1 : times;
    const pass = whole > 0 ? encoder.beginComputePass() : undefined;
    for (let i = 0; i < whole; i++) for (const call of encoded) dispatchEncoded(pass!, call);
    pass?.end();
    const sets = this.timestamps ? this.#stamped(encoder, encoded) : [];
    gpu.queue.submit([encoder.finish()]);
    this.#pending.push({ program, times, sets });
  }

  #stamped(encoder: GPUCommandEncoder, encoded: readonly Encoded[]): GPUQuerySet[] {
    const sets: GPUQuerySet[] = [];
    encoded.forEach((call, i) => {
      const at = i % CALLS_A_SET;
      const left = Math.min(CALLS_A_SET, encoded.length - i);
      if (at === 0) sets.push(this.device.gpu.createQuerySet({ type: "timestamp", count: 2 * left }));
      const timestampWrites = {
        querySet: sets.at(-1)!,
        beginningOfPassWriteIndex: 2 * at,
        endOfPassWriteIndex: 2 * at + 1,
      };
      const pass = encoder.beginComputePass({ label: call.pipeline.label, timestampWrites });
      dispatchEncoded(pass, call);
      pass.end();
    });
    return sets;
  }

  /** What was measured since the last look, in order; queries are resolved in a submit of their own. */
  async results(): Promise<RunTimes[]> {
    await this.device.drain();
    const out: RunTimes[] = [];
    for (const { program, times, sets } of this.#pending.splice(0)) {
      const stamps = (await Promise.all(sets.map((set) => this.#read(set)))).flatMap((part) => [...part]);
      const origin = stamps[0] ?? 0n;
      const ms = (from: bigint, to: bigint): number => Number(to - from) / 1e6;
      const calls = Array.from({ length: stamps.length / 2 }, (_, i) => i);
      out.push({
        program,
        times,
        ms: Float64Array.from(calls, (i) => ms(stamps[2 * i]!, stamps[2 * i + 1]!)),
        start: Float64Array.from(calls, (i) => ms(origin, stamps[2 * i]!)),
      });
    }
    this.device.check();
    return out;
  }

  async #read(set: GPUQuerySet): Promise<BigUint64Array> {
    const { gpu } = this.device;
    const size = set.count * 8;
    const resolved = gpu.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
    const mapped = gpu.createBuffer({ size, usage: COPY_DST | MAP_READ });
    const encoder = gpu.createCommandEncoder({ label: "timestamps" });
    encoder.resolveQuerySet(set, 0, set.count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, mapped, 0, size);
    gpu.queue.submit([encoder.finish()]);
    await this.device.drain();
    await mapped.mapAsync(MAP_READ);
    const stamps = new BigUint64Array(mapped.getMappedRange().slice(0));
    for (const object of [resolved, mapped, set]) object.destroy();
    return stamps;
  }
}

/** Whether these times come in steps too large to tell kernels apart. */
export function isCoarse(runs: readonly RunTimes[]): boolean {
  const stamps = runs.flatMap(({ ms }) =>
    [...ms].filter((t) => t > 0).map((t) => BigInt(Math.round(t * 1e6))),
  );
  return stamps.length > 0 && stamps.every((t) => t % COARSE === 0n);
}
