/** Checking and timing a job, and saying what came out. */
import { Bench } from "tinybench";
import type { Device } from "../gpu/device.ts";
import type { Ceilings, Rate } from "./ceiling.ts";
import type { Job } from "./job.ts";
import { median, timePortion, warmUp } from "./time.ts";

export type Unit = "GFLOP/s" | "GB/s" | "tokens/s";

/** One line of results. Times are milliseconds of one run. */
export interface Line {
  readonly name: string;
  readonly ms: number;
  readonly bestMs: number;
  /** Processor time of all threads, software adapters only: what other programs take does not count there. */
  readonly cpuMs?: number;
  /** The first result's largest error, relative to the largest expected value. */
  readonly error: number;
  /** At the median of the wall clock. */
  readonly rate?: number;
  readonly unit?: Unit;
  /** Twice the work over the processor time: what two cores do that nothing else takes. */
  readonly perTwoCores?: number;
  /** Arithmetic or bytes over what the ceiling allows in the same time, by processor time where that is known. */
  readonly share?: number;
}

/** A portion of runs lasts about so long, so that waiting for it costs little. */
const PORTION = 20;

/**
 * Checks `job`, then times it for about `time` ms.
 * @throws Error when the first result is wrong: a wrong kernel's speed means nothing
 */
export async function measure(
  device: Device,
  name: string,
  job: Job,
  { time, ceilings }: { readonly time: number; readonly ceilings?: Ceilings | undefined },
): Promise<Line> {
  const error = await job.check();
  if (!(error <= job.tolerance))
    throw new Error(`relative error ${error.toExponential(1)}; expected at most ${job.tolerance}`);
  const portion = (times: number): ReturnType<typeof timePortion> =>
    timePortion(device, () => job.submit(times));
  await portion(1);
  const { wall } = await portion(1);
  const times = Math.max(1, Math.ceil(PORTION / wall));
  await warmUp(device, () => job.submit(times));
  const cpu: number[] = [];
  const bench = new Bench({ time, iterations: 3, warmup: false, throws: true });
  bench.add(name, async () => void cpu.push((await portion(times)).cpu / times));
  const [task] = await bench.run();
  const result = task?.result;
  if (!result || !("latency" in result)) throw new Error(`${name}: was not timed`);
  const ms = result.latency.p50 / times;
  const cpuMs = device.software ? median(cpu) : undefined;
  return {
    name,
    ms,
    bestMs: result.latency.min / times,
    ...(cpuMs && { cpuMs }),
    error,
    ...rates(job, ms, cpuMs, ceilings),
  };
}

function rates(
  job: Job,
  ms: number,
  cpuMs: number | undefined,
  ceilings: Ceilings | undefined,
): Pick<Line, "rate" | "unit" | "perTwoCores" | "share"> {
  const { flops, bytes, tokens } = job;
  const [work, unit, scale] = tokens
    ? ([tokens, "tokens/s", 1000] as const)
    : flops > 0
      ? ([flops, "GFLOP/s", 1e-6] as const)
      : ([bytes, "GB/s", 1e-6] as const);
  const perTwoCores = cpuMs && (2 * work * scale) / cpuMs;
  const share = ceilings && shareOf(job, ms, cpuMs, ceilings);
  return {
    ...(work > 0 && { rate: (work * scale) / ms, unit, ...(perTwoCores && { perTwoCores }) }),
    ...(share && { share }),
  };
}

/** The time that the ceilings allow at least, over the time it took. */
function shareOf(
  { flops, bytes }: Job,
  ms: number,
  cpuMs: number | undefined,
  { gflops, gbs }: Ceilings,
): number {
  const roof = ({ wall, perTwoCores }: Rate): number => 1e6 * (cpuMs && perTwoCores ? perTwoCores / 2 : wall);
  return Math.max(flops / roof(gflops), bytes / roof(gbs)) / (cpuMs ?? ms);
}
