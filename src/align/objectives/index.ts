/** The list of objectives, by name, and the settings they share. */

import { ConfigError } from "../../errors.ts";
import { betaFromN, nFromBeta } from "../best-of-n/log-bon.ts";
import { bonSft } from "./bon-sft.ts";
import { bonbon } from "./bonbon.ts";
import { bond } from "./bond.ts";
import { dpo } from "./dpo.ts";
import { ipo } from "./ipo.ts";
import { jBond } from "./j-bond.ts";
import { kto } from "./kto.ts";
import type { Objective, ObjectiveSettings } from "./objective.ts";
import type { OfflineObjective } from "./offline.ts";
import { onlineDpo } from "./online-dpo.ts";
import { ppo } from "./ppo.ts";
import { vbon } from "./vbon.ts";
import { vbonL } from "./vbon-l.ts";
import { vbonLle } from "./vbon-lle.ts";

export { type Objective, type ObjectiveSettings, type ScoredSample, terminalOf } from "./objective.ts";
export type { Compared, OfflineObjective, OfflineSettings } from "./offline.ts";

/** Every objective of the policy's own samples, the default first. */
export const objectives: readonly Objective[] = [vbon, vbonL, vbonLle, ppo, bond, jBond, onlineDpo];

/** Every objective of the cache's samples. */
export const offlineObjectives: readonly OfflineObjective[] = [dpo, ipo, kto, bonbon, bonSft];

/** The offline objective called `name`; undefined where there is none. */
export const findOffline = (name: string): OfflineObjective | undefined =>
  offlineObjectives.find((objective) => objective.name === name);

/** Names of the bounds as the paper writes them; `l1` is what the released code calls L. */
const aliases: Readonly<Record<string, string>> = {
  exact: "vbon",
  L: "vbon-l",
  Lle: "vbon-lle",
  l1: "vbon-l",
  "kl-rl": "ppo",
};

/**
 * The objective called `name`, or a bound's name (`exact`, `L`, `Lle`). `warn` hears of names that mislead.
 * @throws ConfigError for an unknown name, listing the known ones.
 */
export function findObjective(name: string, warn: (message: string) => void = () => {}): Objective {
  const found = objectives.find((objective) => objective.name === (aliases[name] ?? name));
  if (!found) {
    const known = [...objectives.map((objective) => objective.name), ...Object.keys(aliases)];
    throw new ConfigError(`objective "${name}" is unknown; expected one of ${known.join(", ")}`);
  }
  if (name === "l1")
    warn(`"l1" is the released code's name for the bound L (Eq. 8), not L1 (Eq. 16): using ${found.name}`);
  return found;
}

/** What a user may give: n, or beta (= klCoef), or both; see {@link resolveSettings}. */
export interface SettingsInput {
  n?: number;
  beta?: number;
  scale?: number;
  compat?: "vbon-release";
}

/**
 * Completes n and klCoef from each other by n = 1/beta + 1, kept real. With `compat: "vbon-release"`, n is int(1/beta) + 1
 * as in the released code, float error and all. At n = 1, where beta would be infinite, klCoef is 1.
 * @throws ConfigError when neither is given, or one is out of range.
 */
export function resolveSettings({ n, beta, scale, compat }: SettingsInput): ObjectiveSettings {
  if (n === undefined && beta === undefined)
    throw new ConfigError("objective: expected n or beta, got neither; give n");
  if (beta !== undefined && !(beta >= 0))
    throw new ConfigError(`objective: beta is ${beta}; expected a number of at least 0`);
  const best = n ?? nFor(beta ?? NaN, compat);
  if (!(best >= 1)) throw new ConfigError(`objective: n is ${best}; expected a real number of at least 1`);
  const klCoef = beta ?? (best === 1 ? 1 : betaFromN(best));
  return { n: best, klCoef, ...(scale === undefined ? {} : { scale }), ...(compat ? { compat } : {}) };
}

/** Beta 0 is plain reward maximisation: n is Infinity, which the vBoN objectives refuse and `ppo` does not read. */
function nFor(beta: number, compat: SettingsInput["compat"]): number {
  if (beta === 0) return Infinity;
  return compat ? Math.trunc(1 / beta) + 1 : nFromBeta(beta);
}
