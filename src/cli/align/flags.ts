/** What the flags of `vbon align` mean to the floors below. */
import type { CdfOptions, MissingEos } from "../../align/best-of-n/cdf.ts";
import { fitExponential } from "../../align/best-of-n/exponential-fit.ts";
import type { PpoSettings } from "../../align/loop.ts";
import {
  findObjective,
  findOffline,
  type ObjectiveSettings,
  resolveSettings,
} from "../../align/objectives/index.ts";
import { ConfigError } from "../../errors.ts";
import { flagsOf } from "../arguments/flags.ts";
import { computingFields, lossScaleOf } from "../flags/training.ts";
import { offlineFields } from "./offline-flags.ts";
import { type AlignFlags, alignSchema, ONLINE_KEYS } from "./schema.ts";

/** Settings that both kinds of methods have, among those of PPO. */
const SHARED_BY_BOTH = new Set([
  "minibatch",
  "microBatch",
  ...Object.keys(computingFields),
  "lr",
  "lrSchedule",
  "adamBeta1",
  "adamBeta2",
  "weightDecay",
  "gradClip",
]);

/** Flags that say something else than by default, and that the method does not read. */
export function unreadFlags(flags: AlignFlags): string[] {
  const online = ONLINE_KEYS.filter((key) => !SHARED_BY_BOTH.has(key));
  const unread = new Set(findOffline(flags.method) ? online : Object.keys(offlineFields));
  const given = flags as unknown as Readonly<Record<string, unknown>>;
  // A preset says them all.
  if (flags.preset !== undefined) return [];
  return flagsOf(alignSchema)
    .filter(
      ({ key, default: fallback }) => unread.has(key) && given[key] !== undefined && given[key] !== fallback,
    )
    .map(({ name }) => `--${name}`);
}

/** Settings of PPO, and nothing else of the flags. */
export function ppoSettings(flags: AlignFlags): PpoSettings {
  const { rollout: rolloutSize, adamBeta1, adamBeta2 } = flags;
  const { episodes, minibatch, microBatch, ppoEpochs, lrSchedule, weightDecay, gradClip, averageLast } =
    flags;
  const { clipRange, anchorRate, whitenRewards, klTarget, klHorizon, adamEps: eps, gamma, lam, seed } = flags;
  const { imitates, pairLoss } = findObjective(flags.method);
  const { optimizer = imitates ? "reinforce" : "ppo", group = pairLoss ? 2 : 1 } = flags;
  const { value: kind, valueLr, valueEpochs, vfCoef, clipRangeValue } = flags;
  const sizes = { episodes, rolloutSize, minibatch, microBatch, ppoEpochs };
  const rates = {
    lr: flags.lr ?? 2e-4,
    valueLr,
    lrSchedule,
    betas: [adamBeta1, adamBeta2] as const,
    weightDecay,
    gradClip,
    lossScale: lossScaleOf(flags),
    averageLast,
  };
  return {
    ...sizes,
    ...rates,
    clipRange,
    optimizer,
    group,
    anchorRate,
    whitenRewards,
    klTarget,
    klHorizon,
    eps,
    gamma,
    lam,
    seed,
    value: kind,
    valueEpochs,
    vfCoef,
    clipRangeValue,
  };
}

/** How ranks become F. */
export function cdfOptions(flags: AlignFlags): CdfOptions {
  const { estimator, smoothing, ties, fit } = flags;
  return { estimator, smoothing, ties, fit: fit ? fitExponential : undefined, missingEos: endingOf(flags) };
}

/** What a response without an end scores. */
export const endingOf = ({ missingEos }: AlignFlags): MissingEos =>
  missingEos === "none" || missingEos === "bottom" ? missingEos : Number(missingEos);

/**
 * n and the KL coefficient.
 * @throws ConfigError when neither is given, or n would be infinite where it must not be
 */
export function objectiveSettings(flags: AlignFlags): ObjectiveSettings {
  const { n, beta, compat, method, jeffreys, anchorKl, rewardClip } = flags;
  const resolved = resolveSettings({
    ...(n !== undefined && { n }),
    ...(beta !== undefined && { beta }),
    ...(compat && { compat }),
  });
  const missingEos = endingOf(flags);
  if (missingEos === "bottom" && !findObjective(method).needsCache && method !== "j-bond") {
    throw new ConfigError(
      `vbon align: ${method} maximises the score itself, which has no bottom; give --missing-eos a number, or none`,
    );
  }
  const settings = {
    ...resolved,
    jeffreys,
    anchorKl,
    missingEos,
    ...(rewardClip !== undefined && { rewardClip }),
  };
  if (method === "ppo" || Number.isFinite(settings.n)) return settings;
  throw new ConfigError(
    `vbon align: --beta 0 means n = infinity, which ${method} cannot aim at; give --n, or --method ppo`,
  );
}
