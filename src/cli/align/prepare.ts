/** A run of `vbon align` that draws its own samples, ready to start: `vbon plan` prepares the same on paper. */
import { type AlignRun, createAlignRun } from "../../align/loop.ts";
import type { Objective, ObjectiveSettings } from "../../align/objectives/index.ts";
import { layersOf } from "../flags/layers.ts";
import { loraOf } from "../flags/lora.ts";
import { cdfOptions, ppoSettings } from "./flags.ts";
import type { AlignFlags } from "./schema.ts";
import type { Subject } from "./subject.ts";

/** A subject and what its policy maximises. */
export interface Aim extends Subject {
  readonly objective: Objective;
  readonly settings: ObjectiveSettings;
}

/** What {@link createAlignRun} makes of them. */
export function prepareOnline(
  { reference, reward, task, test, objective, settings, eosIds }: Aim,
  flags: AlignFlags,
): Promise<AlignRun> {
  return createAlignRun({
    refPolicy: reference.model,
    tokenizer: reference.tokenizer,
    reward,
    prompts: task.prompts,
    evalPrompts: test?.prompts ?? [],
    cache: task.cache,
    cdf: cdfOptions(flags),
    objective,
    settings,
    lora: loraOf(flags),
    layers: layersOf("align", flags),
    generate: { ...task.sampling, eosIds },
    rows: Math.min(flags.rows, Math.max(flags.rollout, flags.evalSamples * (test?.prompts.length ?? 0))),
    ppo: ppoSettings(flags),
  });
}
