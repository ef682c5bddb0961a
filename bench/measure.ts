/** Checking and timing a job, and saying what came out. */
import { cpus } from "node:os";
import { Bench } from "tinybench";
import type { Device } from "../src/gpu/device.ts";
import { runtime } from "../src/host.ts";

/** Something to time, ready to run. */
export interface Job {
  readonly name: string;
  /** Arithmetic of one run; 0 where memory is the limit. */
  readonly flops: number;
  /** Bytes of one run: each input read once, each output written once; 0 where arithmetic is the limit. */
  readonly bytes: number;
  /** Tokens that one run draws, where that is what counts. */
  readonly tokens?: number;
  /**
   * Runs once and compares with a reference.
   * @returns the largest error, relative to the largest expected value
   */
  check(): Promise<number>;
  readonly tolerance: number;
  /** Submits `times` runs in a row. */
  submit(times: number): void | Promise<void>;
  dispose(): void;
}

/** One line of results. */
export interface Line {
  readonly name: string;
  /** Median and best time of a run. */
  readonly ms: number;
  readonly bestMs: number;
  readonly error: number;
  readonly rate?: number;
  readonly unit?: "GFLOP/s" | "GB/s" | "tokens/s";
}

/** What the numbers were measured on. */
export function machineOf(device: Device): string {
  const [first] = cpus();
  return `${device.name}; ${first?.model ?? "unknown processor"}, ${cpus().length} threads; ${runtime()}`;
}

/**
 * Checks `job`, then times it for about `time` ms, in portions long enough for the wait to cost little.
 * @throws Error when the first result is wrong: a wrong kernel's speed means nothing
 */
export async function measure(device: Device, job: Job, time: number): Promise<Line> {
  const error = await job.check();
  if (!(error <= job.tolerance)) {
    throw new Error(
      `${job.name}: relative error ${error.toExponential(1)}; expected at most ${job.tolerance}`,
    );
  }
  const portion = async (times: number): Promise<void> => {
    await job.submit(times);
    await device.drain();
  };
  await portion(1);
  const start = performance.now();
  await portion(1);
  const times = Math.max(1, Math.ceil(20 / (performance.now() - start)));
  const bench = new Bench({ time, iterations: 3, warmup: false, throws: true });
  bench.add(job.name, () => portion(times));
  const [task] = await bench.run();
  const result = task?.result;
  if (!result || !("latency" in result)) throw new Error(`${job.name}: was not timed`);
  const { p50, min } = result.latency;
  return { name: job.name, ms: p50 / times, bestMs: min / times, error, ...rateOf(job, p50 / times) };
}

function rateOf({ flops, bytes, tokens }: Job, ms: number): Pick<Line, "rate" | "unit"> {
  if (tokens) return { rate: (1000 * tokens) / ms, unit: "tokens/s" };
  if (flops > 0) return { rate: flops / ms / 1e6, unit: "GFLOP/s" };
  if (bytes > 0) return { rate: bytes / ms / 1e6, unit: "GB/s" };
  return {};
}

/** A line of the table. */
export function show({ name, ms, bestMs, rate, unit, error }: Line): string {
  const shown = rate === undefined ? "" : `${rate >= 1000 ? rate.toFixed(0) : rate.toFixed(1)} ${unit ?? ""}`;
  return `${name.padEnd(46)}${ms.toFixed(3).padStart(10)} ms${bestMs.toFixed(3).padStart(10)} ms  ${shown.padStart(16)}   ${error.toExponential(1)}`;
}

/** The largest difference, relative to the largest expected value. */
export function relativeError(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [largest, scale] = [0, 1e-30];
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(got[i]! - expected[i]!);
    if (!(difference <= largest)) largest = difference;
    scale = Math.max(scale, Math.abs(expected[i]!));
  }
  return largest / scale;
}
