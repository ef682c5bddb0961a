/** What micro-batches report, and how the optimizer steps after them went: kept on the GPU until one readback takes it. */
import type { Device } from "../gpu/device.ts";
import { CLIP_WIDTH, type Outcome, outcomesIn } from "../optim/clip.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { createRing, readRings } from "./ring.ts";

/** A micro-batch as the host knows it, and what it reported. */
export interface Reported<P> {
  readonly part: P;
  readonly report: Float32Array;
}

/** Keeps reports in order, micro-batches first, then the step that they led to. */
export interface StepLog<P> {
  /** Keeps the report of the micro-batch that was just submitted. Waits for the GPU only when there is no more room. */
  keepPart(part: P, report: Tensor): Promise<void>;
  /** Keeps the outcome of the step that was just submitted: `clip` of each of its optimizers. */
  keepStep(...clips: readonly Tensor[]): Promise<void>;
  /** Reads what has been kept. */
  flush(): Promise<void>;
  dispose(): void;
}

/** What a log is of. */
export interface StepLogOptions<P> {
  readonly label: string;
  /** Floats a report. */
  readonly width: number;
  /** Optimizers a step, at most. */
  readonly optimizers: number;
  /** Hears of each complete step, in order, with the outcome of each optimizer. */
  onStep(parts: readonly Reported<P>[], outcomes: readonly Outcome[]): void;
}

/** Micro-batches, and steps, between two readbacks, at most. */
const SLOTS = 128;

/** A log of steps on `device`. */
export function createStepLog<P>(device: Device, options: StepLogOptions<P>): StepLog<P> {
  const { label, width, optimizers, onStep } = options;
  const reports = createRing(device, SLOTS, width, `reports of ${label}`);
  const norms = createRing(device, SLOTS * optimizers, CLIP_WIDTH, `gradient norms of ${label}`);
  let parts: P[] = []; // in the ring, as are the norms of `steps`
  let steps: { readonly parts: number; readonly clips: number }[] = [];
  let begun: Reported<P>[] = []; // read, of a step that has not been

  const flush = async (): Promise<void> => {
    const [values, norm] = (await readRings(device, [reports, norms])) as [Float32Array, Float32Array];
    const read = parts.map((part, i) => ({ part, report: values.subarray(i * width, (i + 1) * width) }));
    const outcomes = outcomesIn(norm, SLOTS * optimizers);
    let from = 0;
    steps.forEach((step, i) => {
      onStep(
        [...begun, ...read.slice(from, step.parts)],
        outcomes.slice(i * optimizers, i * optimizers + step.clips),
      );
      [begun, from] = [[], step.parts];
    });
    begun.push(...read.slice(from));
    [parts, steps] = [[], []];
  };

  return {
    async keepPart(part, report) {
      if (parts.length === SLOTS) await flush();
      reports.keep(parts.push(part) - 1, report);
    },
    async keepStep(...clips) {
      if (steps.length === SLOTS) await flush();
      clips.forEach((clip, k) => norms.keep(steps.length * optimizers + k, clip));
      steps.push({ parts: parts.length, clips: clips.length });
      await device.pace();
    },
    flush,
    dispose() {
      reports.dispose();
      norms.dispose();
    },
  };
}
