/** Statistics of PPO updates: kept on the GPU while updates run, and read with one wait. */
import type { Device } from "../../gpu/device.ts";
import { concat } from "../../ops/layout.ts";
import type { Outcome } from "../../optim/clip.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { createStepLog, type Reported, type StepLog } from "../../train/step-log.ts";
import { collect, type Sequence } from "../sequences.ts";

/** Means over the minibatches whose step was taken, each a mean over its response tokens. */
export interface UpdateStats {
  readonly policyLoss: number;
  readonly valueLoss: number;
  /** k3 of the sampling against the new policy, nats a token. */
  readonly approxKl: number;
  /** Share of tokens whose ratio left [1 - clipRange, 1 + clipRange]. */
  readonly clipFrac: number;
  /** Norm of the policy's gradient before clipping. */
  readonly gradNorm: number;
  /** The policy's last loss scale, and the steps skipped since the run began, policy's and value function's; where losses are scaled. */
  readonly lossScale?: number;
  readonly skipped?: number;
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
export interface UpdateLog extends Omit<StepLog<Part>, "flush"> {
  /** The statistics of all steps since the last call. */
  take(): Promise<UpdateStats>;
}

/** What a micro-batch reports: its new log-probabilities [B·T] and its two losses. */
export function reportOf(logprobs: Tensor, policyLoss: Tensor, valueLoss: Tensor): Tensor {
  return concat([logprobs.detach(), policyLoss.detach(), valueLoss.detach()], 0);
}

const nothing = (): {
  policyLoss: number;
  valueLoss: number;
  approxKl: number;
  clipFrac: number;
  gradNorm: number;
} => {
  return { policyLoss: 0, valueLoss: 0, approxKl: 0, clipFrac: 0, gradNorm: 0 };
};

/**
 * A log of steps with the policy's optimizer and, where it has one of its own, the value function's.
 * @param positions T; a micro-batch has B·T of them
 * @param scaled whether losses are scaled, so that steps may be skipped
 */
export function createUpdateLog(
  device: Device,
  B: number,
  T: number,
  { clipRange, scaled }: { readonly clipRange: number; readonly scaled: boolean },
): UpdateLog {
  let sums = nothing();
  let [steps, valueSteps] = [0, 0];
  let scaling = { lossScale: 1, skipped: 0 };
  const onStep = (parts: readonly Reported<Part>[], outcomes: readonly Outcome[]): void => {
    const [policy, value = policy] = outcomes as [Outcome, Outcome?];
    scaling = { lossScale: policy.lossScale, skipped: outcomes.reduce((n, { skips }) => n + skips, 0) };
    if (counts(value)) {
      valueSteps++;
      for (const { report } of parts) sums.valueLoss += report[B * T + 1]!;
    }
    if (!counts(policy)) return;
    steps++;
    sums.gradNorm += policy.gradNorm;
    for (const { part, report } of parts) {
      sums.policyLoss += policy.diverged ? NaN : report[B * T]!;
      addRatios(sums, part, collect(part.some, report, T), clipRange);
    }
  };
  const log = createStepLog<Part>(device, { label: "updates", width: B * T + 2, optimizers: 2, onStep });

  return {
    ...log,
    async take() {
      await log.flush();
      const mean = (key: keyof typeof sums): number =>
        sums[key] / Math.max(1, key === "valueLoss" ? valueSteps : steps);
      const stats = {
        policyLoss: mean("policyLoss"),
        valueLoss: mean("valueLoss"),
        approxKl: mean("approxKl"),
        clipFrac: mean("clipFrac"),
        gradNorm: mean("gradNorm"),
        ...(scaled && scaling),
      };
      [sums, steps, valueSteps] = [nothing(), 0, 0];
      return stats;
    },
  };
}

/** Whether a step belongs to the means: a skipped one changed nothing, and may be no number. */
const counts = ({ skipped, diverged }: Outcome): boolean => !skipped || diverged;

/** In float64 on the host: exp(l) - 1 - l of a small l cancels. */
function addRatios(
  sums: { approxKl: number; clipFrac: number },
  { some, tokens }: Part,
  now: readonly Float32Array[],
  clipRange: number,
): void {
  some.forEach((e, b) => {
    e.oldLogprobs.forEach((old, t) => {
      const l = now[b]![t]! - old;
      sums.approxKl += (Math.exp(l) - 1 - l) / tokens;
      if (Math.abs(Math.exp(l) - 1) > clipRange) sums.clipFrac += 1 / tokens;
    });
  });
}
