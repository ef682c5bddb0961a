/** What the demo's stages share. */
import type { ObjectiveSettings } from "../../align/objectives/index.ts";
import type { Reward } from "../../align/rewards.ts";
import type { GenerateSettings } from "../../generate/engine.ts";
import type { ScalarModel } from "../../nn/lm.ts";
import type { Clock } from "../../train/clock.ts";
import type { Opened } from "../open.ts";
import type { Io } from "../verb.ts";
import type { DemoPlan } from "./plan.ts";
import type { SplitPrompts } from "./prompts.ts";

/** What all stages share. */
export interface Stage {
  readonly io: Io;
  readonly plan: DemoPlan;
  readonly opened: Opened;
  readonly reward: Reward;
  /** What value functions start from; undefined for the reference. */
  readonly valueFrom: ScalarModel | undefined;
  readonly prompts: SplitPrompts;
  readonly generate: GenerateSettings;
  /** The run's folder. */
  readonly out: string;
  readonly seed: number;
  /** vBoN's settings, by which every policy is judged. */
  readonly vbon: ObjectiveSettings;
  readonly clock: Clock;
}
