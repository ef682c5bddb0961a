/** One update of an online objective that learns from pairs: the best and the worst of each group of a rollout. */
import type { LanguageModel } from "../../nn/lm.ts";
import type { Optimizer } from "../../optim/adamw.ts";
import type { LossScale } from "../../optim/loss-scale.ts";
import { record } from "../../tensor/tensor.ts";
import { createStepLog } from "../../train/step-log.ts";
import type { OfflineObjective, OfflineSettings } from "../objectives/index.ts";
import { type OfflineExample, recordOffline, runOffline } from "../offline/loss.ts";
import type { JudgedExperience } from "../rollout.ts";
import type { Updater } from "./ppo.ts";

/** What is updated, and by which loss. */
export interface PairUpdateOptions {
  readonly policy: LanguageModel;
  readonly optimizer: Optimizer;
  readonly lossScale?: LossScale | undefined;
  readonly objective: OfflineObjective;
  readonly settings: OfflineSettings;
  readonly temperature: number;
  /** Responses of a group: they stand together in a minibatch. */
  readonly group: number;
  /** Sequences a micro-batch, and positions a sequence. */
  readonly microBatch: number;
  readonly positions: number;
}

/** Records the program. The statistics' policyLoss is the pairs' mean loss; ratios are not clipped, and none are reported. */
export async function createPairUpdater(options: PairUpdateOptions): Promise<Updater> {
  const { policy, optimizer, lossScale, group, microBatch, positions, objective } = options;
  const { device } = policy.parameters;
  const P = Math.max(1, Math.floor(microBatch / 2));
  const program = await record(device, `${objective.name} ${P}x${positions}`, () =>
    recordOffline({ ...options, examples: P }),
  );
  let [loss, norm, steps] = [0, 0, 0];
  let scaling = { lossScale: 1, skipped: 0 };
  const log = createStepLog<void>(device, {
    label: "pairs",
    width: 1,
    optimizers: 1,
    onStep(parts, [outcome]) {
      scaling = { lossScale: outcome!.lossScale, skipped: outcome!.skips };
      if (outcome!.skipped && !outcome!.diverged) return;
      steps++;
      norm += outcome!.gradNorm;
      for (const { report } of parts) loss += report[0]!;
    },
  });
  return {
    async step(minibatch, { lr }) {
      const pairs = pairsOf(minibatch as readonly JudgedExperience[], group);
      const counted = Math.max(1, pairs.filter(({ tied }) => !tied).length);
      for (let i = 0; i < pairs.length; i += P) {
        await log.keepPart(undefined, runOffline(program, filled(pairs.slice(i, i + P), P), counted));
      }
      optimizer.step(lr);
      await log.keepStep(optimizer.clip);
    },
    async stats() {
      await log.flush();
      const means = { policyLoss: loss / Math.max(1, steps), gradNorm: norm / Math.max(1, steps) };
      [loss, norm, steps] = [0, 0, 0];
      return { ...means, valueLoss: 0, approxKl: 0, clipFrac: 0, ...(lossScale && scaling) };
    },
    dispose() {
      program.dispose();
      log.dispose();
    },
  };
}

/** A program takes P pairs: those that are missing count for nothing. */
function filled(pairs: readonly OfflineExample[], P: number): OfflineExample[] {
  return Array.from({ length: P }, (_, p) => pairs[p] ?? { ...pairs[0]!, tied: true });
}

/** The best and the worst of every group; the first drawn where scores are equal. */
function pairsOf(minibatch: readonly JudgedExperience[], group: number): OfflineExample[] {
  return Array.from({ length: Math.floor(minibatch.length / group) }, (_, g) => {
    const own = minibatch.slice(g * group, (g + 1) * group);
    const [first] = own as [JudgedExperience];
    const chosen = own.reduce((best, e) => (e.score > best.score ? e : best), first);
    const rejected = own.reduce((worst, e) => (e.score < worst.score ? e : worst), first);
    return { chosen, rejected, tied: chosen.score === rejected.score };
  });
}
