/** Where the time of a step goes: every kernel call timed, grouped by kernel, variant and shape, against the roofline. */
import { callRows } from "../gpu/debug.ts";
import type { Device } from "../gpu/device.ts";
import { isCoarse, Profiler, type RunTimes } from "../gpu/profile.ts";
import type { Program } from "../gpu/program.ts";
import type { Ceilings } from "./ceiling.ts";
import { median, timePortion } from "./time.ts";

/** All calls of one kernel, in one variant, on one shape. */
export interface KernelRow {
  readonly kernel: string;
  readonly variant: string;
  readonly shape: string;
  /** In one step. */
  readonly calls: number;
  /** Milliseconds of all of them, the median over the profiled steps. */
  readonly ms: number;
  /** Of the sum of all kernels' times. */
  readonly part: number;
  readonly flops: number;
  /** Of everything that is bound: more than is touched where a kernel reads a part (a cache, rows of a table). */
  readonly bytes: number;
  /** The least time that the measured ceilings allow, over the time it took. */
  readonly roofline: number;
  readonly limit: "arithmetic" | "memory";
}

/** A step taken apart. */
export interface Profile {
  /** How calls were timed: in place by timestamps, or each alone, several times in a row. */
  readonly by: "timestamps" | "alone";
  /** The most expensive first. */
  readonly rows: readonly KernelRow[];
  readonly dispatches: number;
  /** Milliseconds: the sum of all kernels, and an ordinary step without a profiler. */
  readonly kernelMs: number;
  readonly wallMs: number;
  /** Of that step: until everything was encoded and submitted; undefined where a step waits for the GPU in between. */
  readonly hostMs: number | undefined;
  /** The calls of the last profiled step in order, for a trace. */
  readonly timeline: readonly TimedCall[];
}

/** One call on the GPU's clock. */
export interface TimedCall {
  readonly program: string;
  readonly kernel: string;
  readonly variant: string;
  readonly shape: string;
  readonly flops: number;
  readonly bytes: number;
  /** Milliseconds since its program began. */
  readonly start: number;
  readonly ms: number;
}

/** Something that can be taken apart. */
export interface Workload {
  /** One step, or a whole generation; awaited. */
  run(): void | Promise<void>;
  /** Which of the programs that it runs belong to the step, by label. */
  readonly of: (label: string) => boolean;
  /** Whether `run` returns before the GPU is done, so that its time is the host's. */
  readonly hostOnly: boolean;
  /** Steps that one `run` makes, for the time of one. */
  readonly steps: number;
}

/**
 * Runs the workload three times: to warm up, for the clock, and `runs` times with a profiler.
 * @param alone time each call alone even where the device has timestamps
 */
export async function profile(
  device: Device,
  workload: Workload,
  ceilings: Ceilings,
  { runs, alone }: { readonly runs: number; readonly alone: boolean },
): Promise<Profile> {
  await timePortion(device, () => workload.run());
  const { wall, host } = await ordinary(device, workload, runs);
  const seen = await profiled(device, workload, runs);
  const stamped = !alone && seen.every(({ ms }) => ms.length > 0) && !isCoarse(seen);
  const times = stamped ? mergeRuns(seen) : await timeAlone(device, seen);
  const timeline = times.flatMap(({ program, ms, start }) =>
    callRows(program.calls).map((row, i) => ({
      program: program.label,
      ...row,
      start: start[i]!,
      ms: ms[i]!,
    })),
  );
  const kernelMs = timeline.reduce((sum, { ms }) => sum + ms, 0);
  return {
    by: stamped ? "timestamps" : "alone",
    rows: group(timeline, kernelMs, ceilings),
    dispatches: timeline.length,
    kernelMs,
    wallMs: wall / workload.steps,
    hostMs: workload.hostOnly ? host / workload.steps : undefined,
    timeline,
  };
}

async function ordinary(
  device: Device,
  workload: Workload,
  runs: number,
): Promise<{ wall: number; host: number }> {
  const [walls, hosts]: [number[], number[]] = [[], []];
  for (let i = 0; i < runs; i++) {
    const { wall } = await timePortion(device, async () => {
      const start = performance.now();
      await workload.run();
      hosts.push(performance.now() - start);
    });
    walls.push(wall);
  }
  return { wall: median(walls), host: median(hosts) };
}

/** Every run of the step's programs while a profiler watches. */
async function profiled(device: Device, workload: Workload, runs: number): Promise<RunTimes[]> {
  const profiler = new Profiler(device);
  const seen: RunTimes[] = [];
  for (let i = 0; i < runs; i++) {
    await profiler.watch(() => workload.run());
    seen.push(...(await profiler.results()));
  }
  return seen.filter(({ program }) => workload.of(program.label));
}

/** One entry a program: each call's median over the program's runs, the starts of its last one. */
function mergeRuns(seen: readonly RunTimes[]): RunTimes[] {
  const programs = new Map(seen.map(({ program }) => [program, seen.filter((r) => r.program === program)]));
  return [...programs.values()].map((runs) => {
    const last = runs.at(-1)!;
    return { ...last, ms: last.ms.map((_, i) => median(runs.map(({ ms }) => ms[i]!))) };
  });
}

/** A call is repeated until it lasts so long, milliseconds; waiting costs 0.2. */
const LONG_ENOUGH = 5;

/** Each distinct call alone, in a row of repetitions: what can be done without timestamps. Caches are warm then. */
async function timeAlone(device: Device, seen: readonly RunTimes[]): Promise<RunTimes[]> {
  const out: RunTimes[] = [];
  for (const program of new Set(seen.map((run) => run.program as Program))) {
    const known = new Map<string, number>();
    const ms = new Float64Array(program.calls.length);
    for (const [i, { kernel, variant, shape, workgroups }] of callRows(program.calls).entries()) {
      const key = [kernel, variant, shape, workgroups].join(" ");
      const time = known.get(key) ?? (await timeCall(device, program, i));
      known.set(key, time);
      ms[i] = time;
    }
    let end = 0;
    const start = ms.map((time) => (end += time) - time);
    out.push({ program, times: 1, ms, start });
  }
  return out;
}

async function timeCall(device: Device, program: Program, at: number): Promise<number> {
  const portion = async (times: number): Promise<number> => {
    const { wall } = await timePortion(device, () => program.repeat(at, times));
    return wall / times;
  };
  await portion(1);
  const once = await portion(1);
  const times = Math.ceil(LONG_ENOUGH / once);
  return times > 1 ? portion(times) : once;
}

function group(timeline: readonly TimedCall[], total: number, ceilings: Ceilings): KernelRow[] {
  const groups = new Map<string, TimedCall[]>();
  for (const call of timeline) {
    const key = [call.kernel, call.variant, call.shape].join(" ");
    groups.set(key, [...(groups.get(key) ?? []), call]);
  }
  const rows = [...groups.values()].map((calls) => {
    const { kernel, variant, shape } = calls[0]!;
    const sum = (key: "ms" | "flops" | "bytes"): number => calls.reduce((n, call) => n + call[key], 0);
    const [ms, flops, bytes] = [sum("ms"), sum("flops"), sum("bytes")];
    const arithmetic = flops / ceilings.gflops.wall / 1e6;
    const memory = bytes / ceilings.gbs.wall / 1e6;
    return {
      kernel,
      variant,
      shape,
      calls: calls.length,
      ms,
      part: total > 0 ? ms / total : 0,
      flops,
      bytes,
      roofline: ms > 0 ? Math.max(arithmetic, memory) / ms : 0,
      limit: arithmetic > memory ? ("arithmetic" as const) : ("memory" as const),
    };
  });
  return rows.toSorted((a, b) => b.ms - a.ms);
}
