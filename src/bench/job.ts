/** What a benchmark is: something that can be checked against a reference, and then timed. */
import type { Device } from "../gpu/device.ts";
import type { Program } from "../gpu/program.ts";
import { createRandom } from "../tensor/random.ts";
import { type Shape, sizeOf } from "../tensor/tensor.ts";

/** Something to time, ready to run. */
export interface Job {
  /** Floating-point operations of one run; 0 where nobody counts them. */
  readonly flops: number;
  /** Bytes of one run: each input read once, each output written once; 0 where arithmetic is the limit. */
  readonly bytes: number;
  /** Tokens of one run, where that is what counts. */
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

/** A job by its name, made when it is to run. */
export interface Plan {
  readonly name: string;
  /** Whether this device can do it; left out: every device can. */
  readonly runs?: (device: Device) => boolean;
  make(device: Device): Promise<Job>;
}

/** The same normal values on every machine. */
export function values(name: string, shape: Shape): Float32Array<ArrayBuffer> {
  const random = createRandom(1, name);
  return Float32Array.from({ length: sizeOf(shape) }, () => random.normal());
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

/** What the ops of a program say they compute. */
export const flopsOf = ({ calls }: Program): number => calls.reduce((sum, { flops }) => sum + flops, 0);
