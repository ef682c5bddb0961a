/** Every benchmark by the name of its group, in the order of the report. */
import { ConfigError } from "../errors.ts";
import type { Plan } from "./job.ts";
import { adamwPlans } from "./jobs/adamw.ts";
import { alignPlans } from "./jobs/align.ts";
import { attentionPlans } from "./jobs/attention.ts";
import { decodePlans } from "./jobs/decode.ts";
import { matmulPlans } from "./jobs/matmul.ts";
import { headPlans, normPlans } from "./jobs/rows.ts";
import { stepPlans } from "./jobs/step.ts";

/** To add one: its file in `jobs/`, and a line here. */
export const groups: Readonly<Record<string, readonly Plan[]>> = {
  matmul: matmulPlans,
  attention: attentionPlans,
  norm: normPlans,
  head: headPlans,
  adamw: adamwPlans,
  step: stepPlans,
  decode: decodePlans,
  align: alignPlans,
};

/**
 * The benchmarks of these groups, or whose names contain one of these words; all of them without any.
 * @throws ConfigError when a word chooses nothing
 */
export function choosePlans(words: readonly string[]): Plan[] {
  const all = Object.values(groups).flat();
  if (words.length === 0) return all;
  const chosen = words.flatMap((word) => {
    const found = groups[word] ?? all.filter(({ name }) => name.includes(word));
    if (found.length > 0) return found;
    throw new ConfigError(
      `vbon bench: no benchmark "${word}"; the groups are ${Object.keys(groups).join(", ")}, steady; or give a part of a name, ` +
        'such as "matmul nt"',
    );
  });
  return all.filter((plan) => chosen.includes(plan));
}
