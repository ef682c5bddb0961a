/** Statistics of PPO updates: kept on the GPU while updates run, and read with one wait. */
import type { Device } from "../gpu/device.ts";
import { concat } from "../ops/layout.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { createRing, readRings } from "../train/ring.ts";
import { collect, type Sequence } from "./sequences.ts";

/** Means over minibatches, each a mean over its response tokens. */
export interface UpdateStats {
  readonly policyLoss: number;
  readonly valueLoss: number;
  /** k3 of the sampling against the new policy, nats a token. */
  readonly approxKl: number;
  /** Share of tokens whose ratio left [1 - clipRange, 1 + clipRange]. */
  readonly clipFrac: number;
  /** Norm of the policy's gradient before clipping. */
  readonly gradNorm: number;
}

/** A response and the log-probabilities that it was sampled with. */
interface Sampled extends Sequence {
  readonly oldLogprobs: Float32Array;
}

interface Part {
  readonly some: readonly Sampled[];
  /** Response tokens of the whole minibatch. */
  readonly tokens: number;
}

/** What updates leave behind until somebody asks. */
export interface UpdateLog {
  /** Keeps the report of the micro-batch that was just submitted. Waits for the GPU only when there is no more room. */
  keepPart(part: Part, report: Tensor): Promise<void>;
  /** Keeps the norm of the optimizer step that was just submitted. */
  keepStep(clip: Tensor): Promise<void>;
  /** The statistics of all steps since the last call. */
  take(): Promise<UpdateStats>;
  dispose(): void;
}

/** Micro-batches between two readbacks, at most. */
const SLOTS = 128;

/** What a micro-batch reports: its new log-probabilities [B·T] and its two losses. */
export function reportOf(logprobs: Tensor, policyLoss: Tensor, valueLoss: Tensor): Tensor {
  return concat([logprobs.detach(), policyLoss.detach(), valueLoss.detach()], 0);
}

const nothing = (): Record<keyof UpdateStats, number> => {
  return { policyLoss: 0, valueLoss: 0, approxKl: 0, clipFrac: 0, gradNorm: 0 };
};

/** @param positions T; a micro-batch has B·T of them */
export function createUpdateLog(device: Device, B: number, T: number, clipRange: number): UpdateLog {
  const width = B * T + 2;
  const reports = createRing(device, SLOTS, width, "reports of updates");
  const norms = createRing(device, SLOTS, 2, "gradient norms of updates");
  let parts: Part[] = [];
  let waiting = 0; // norms in the ring
  let steps = 0;
  let sums = nothing();

  const flush = async (): Promise<void> => {
    const [values, norm] = (await readRings(device, [reports, norms])) as [Float32Array, Float32Array];
    parts.forEach(({ some, tokens }, i) => {
      const report = values.subarray(i * width, (i + 1) * width);
      sums.policyLoss += report[B * T]!;
      sums.valueLoss += report[B * T + 1]!;
      addRatios(sums, some, collect(some, report, T), clipRange, tokens);
    });
    for (let i = 0; i < waiting; i++) sums.gradNorm += norm[2 * i]!;
    [parts, waiting] = [[], 0];
  };

  return {
    async keepPart(part, report) {
      if (parts.length === SLOTS) await flush();
      reports.keep(parts.push(part) - 1, report);
    },
    async keepStep(clip) {
      if (waiting === SLOTS) await flush();
      norms.keep(waiting++, clip);
      steps++;
      await device.pace();
    },
    async take() {
      await flush();
      const mean = (key: keyof UpdateStats): number => sums[key] / steps;
      const stats = {
        policyLoss: mean("policyLoss"),
        valueLoss: mean("valueLoss"),
        approxKl: mean("approxKl"),
        clipFrac: mean("clipFrac"),
        gradNorm: mean("gradNorm"),
      };
      [sums, steps] = [nothing(), 0];
      return stats;
    },
    dispose() {
      reports.dispose();
      norms.dispose();
    },
  };
}

/** In float64 on the host: exp(l) - 1 - l of a small l cancels. */
function addRatios(
  sums: { approxKl: number; clipFrac: number },
  some: readonly Sampled[],
  now: readonly Float32Array[],
  clipRange: number,
  tokens: number,
): void {
  some.forEach((e, b) => {
    e.oldLogprobs.forEach((old, t) => {
      const l = now[b]![t]! - old;
      sums.approxKl += (Math.exp(l) - 1 - l) / tokens;
      if (Math.abs(Math.exp(l) - 1) > clipRange) sums.clipFrac += 1 / tokens;
    });
  });
}
