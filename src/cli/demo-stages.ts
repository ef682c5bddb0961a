/** What the demo's stages share, and the clock that says where time went. */
import type { Reward } from "../align/rewards.ts";
import type { ObjectiveSettings } from "../align/objectives/index.ts";
import type { GenerateSettings } from "../generate/engine.ts";
import type { ScalarModel } from "../nn/lm.ts";
import type { DemoPlan } from "./demo-plan.ts";
import type { SplitPrompts } from "./demo-prompts.ts";
import type { Opened } from "./open.ts";
import type { Io } from "./verb.ts";

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

/** Seconds by what they were spent on, in order of first use. */
export interface Clock {
  readonly seconds: Readonly<Record<string, number>>;
  add(what: string, seconds: number): void;
  /** Runs `work` and counts its seconds. */
  time<T>(what: string, work: () => Promise<T>): Promise<T>;
}

/** A clock at 0. */
export function createClock(): Clock {
  const seconds: Record<string, number> = {};
  const add = (what: string, more: number): void => void (seconds[what] = (seconds[what] ?? 0) + more);
  return {
    seconds,
    add,
    async time(what, work) {
      const start = performance.now();
      const result = await work();
      add(what, (performance.now() - start) / 1000);
      return result;
    },
  };
}
