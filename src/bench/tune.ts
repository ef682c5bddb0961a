/** The search behind `vbon tune`: every candidate checked, then timed in turns with what is used without tuning. */
import type { Device } from "../gpu/device.ts";
import type { Tuning } from "../gpu/tune.ts";
import { matmulTunings } from "../ops/product.ts";
import { classOf } from "../ops/matmul-form.ts";
import type { Job } from "./job.ts";
import { makeMatmul, MODES } from "./jobs/matmul.ts";
import { median, timePortion, warmUp } from "./time.ts";

/** [M, N, K]. */
export type ProductShape = readonly [M: number, N: number, K: number];

/** A class of shapes of an op, by one of its shapes. */
export interface TuneTask {
  readonly op: "matmul";
  readonly class: string;
  readonly mode: keyof typeof MODES;
  /** What the operands are stored as. */
  readonly dtype: "f32" | "f16";
  readonly shape: ProductShape;
}

/** What was found for a class. */
export interface Found {
  readonly task: TuneTask;
  /** Undefined: nothing beats the op's own choice by more than {@link MARGIN}. */
  readonly tuning: Tuning | undefined;
  /** The op's own time over the best one's, medians of ratios within a round. */
  readonly ratio: number;
  /** Milliseconds of one run without tuning: processor time over two cores on software adapters, else wall time. */
  readonly ms: number;
  readonly tried: number;
}

/** Less than this is noise. */
export const MARGIN = 1.03;
/** A turn lasts at least so long, milliseconds. */
const TURN = 15;

/** One task for each class of operands in these dtypes, by the largest of its shapes. */
export function tuneTasks(shapes: readonly ProductShape[], dtypes: readonly TuneTask["dtype"][]): TuneTask[] {
  const largest = shapes.toSorted((a, b) => b[0] * b[1] * b[2] - a[0] * a[1] * a[2]);
  const tasks = new Map<string, TuneTask>();
  for (const dtype of dtypes)
    for (const mode of ["nn", "nt", "tn"] as const)
      for (const shape of largest) {
        const [, N, K] = shape;
        const { transposeA = false, transposeB = false }: { transposeA?: boolean; transposeB?: boolean } =
          MODES[mode];
        const name = classOf({ N, K, transposeA, transposeB }, [dtype, dtype]);
        if (!tasks.has(name)) tasks.set(name, { op: "matmul", class: name, mode, dtype, shape });
      }
  return [...tasks.values()];
}

interface Candidate {
  readonly tuning: Tuning | undefined;
  readonly job: Job;
  readonly times: number[];
}

/**
 * Tries every candidate of a class in `rounds` turns each.
 * @param say hears of candidates that fail; they are left aside
 */
export async function tuneClass(
  device: Device,
  task: TuneTask,
  { rounds, say }: { readonly rounds: number; readonly say: (line: string) => void },
): Promise<Found> {
  const tunings = matmulTunings(device, task.mode, task.dtype);
  const candidates: Candidate[] = [];
  try {
    for (const tuning of [undefined, ...tunings]) {
      const made = await prepare(device, task, tuning, say);
      if (made) candidates.push(made);
    }
    const own = candidates[0]!;
    await race(device, candidates, task, rounds);
    const [best] = candidates.slice(1).toSorted((a, b) => gain(own, b) - gain(own, a));
    // The best of many is partly the luckiest: what counts is a race of its own.
    for (const { times } of candidates) times.length = 0;
    if (best) await race(device, [own, best], task, 2 * rounds);
    const ratio = best ? gain(own, best) : 1;
    return {
      task,
      tuning: ratio > MARGIN ? best!.tuning : undefined,
      ratio,
      ms: median(own.times),
      tried: candidates.length - 1,
    };
  } finally {
    for (const { job } of candidates) job.dispose();
  }
}

/** How many times as fast as without tuning. */
const gain = (own: Candidate, { times }: Candidate): number =>
  median(times.map((time, round) => own.times[round]! / time));

/** Checked against float64; undefined where it is wrong or does not run, but never the op's own choice. */
async function prepare(
  device: Device,
  { mode, shape, dtype }: TuneTask,
  tuning: Tuning | undefined,
  say: (line: string) => void,
): Promise<Candidate | undefined> {
  try {
    const job = await makeMatmul(device, shape, { ...MODES[mode], tuning: tuning ?? {} }, { dtype });
    const error = await job.check();
    if (error <= job.tolerance) return { tuning, job, times: [] };
    job.dispose();
    throw new Error(`error ${error.toExponential(1)}, allowed ${job.tolerance}`);
  } catch (error) {
    if (!tuning) throw error;
    say(`${JSON.stringify(tuning)}: left out: ${(error as Error).message}`);
    return undefined;
  }
}

/** Turns of all candidates, one after the other, so that a slow minute of the machine meets all of them. */
async function race(
  device: Device,
  candidates: readonly Candidate[],
  { shape: [M, N, K] }: TuneTask,
  rounds: number,
): Promise<void> {
  const { wall } = await timePortion(device, () => candidates[0]!.job.submit(1));
  const times = Math.max(1, Math.min(1000, Math.ceil(TURN / wall), Math.ceil(4e9 / (M * N * K))));
  await warmUp(device, () => candidates[0]!.job.submit(times));
  for (let round = 0; round < rounds; round++)
    for (const { job, times: own } of candidates) {
      const { wall: all, cpu } = await timePortion(device, () => job.submit(times));
      own.push((device.software ? cpu / 2 : all) / times);
    }
}
