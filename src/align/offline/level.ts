/**
 * The one number that a loss may need anew at each step: BoNBoN's alpha, KTO's reference point. It is found for the whole step
 * before its first micro-batch, so that gradients do not depend on how a step is split.
 */
import { mean } from "../../evaluate/mean.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import { bonMargin } from "../best-of-n/log-bon.ts";
import type { OfflineObjective, OfflineSettings } from "../objectives/index.ts";
import { createScorer } from "../scorer.ts";
import type { Sequence } from "../sequences.ts";
import type { OfflineExample } from "./loss.ts";

/** The level of each step. */
export interface Level {
  /** Of the step with these examples, called once a step. */
  at(examples: readonly OfflineExample[]): Promise<number>;
  /** Is to be told, after each micro-batch, what it adds to the step's means of the loss's parts; undefined: need not be. */
  readonly hear: ((parts: readonly number[]) => void) | undefined;
  /** What it carries from step to step; a checkpoint stores it. */
  memory: readonly number[];
  dispose(): void;
}

/** Who is asked where the level depends on the policy. */
export interface LevelOptions {
  readonly objective: OfflineObjective;
  readonly settings: OfflineSettings;
  readonly policy: LanguageModel;
  readonly refPolicy: LanguageModel;
  readonly temperature: number;
  /** Sequences a forward pass. */
  readonly batch: number;
}

/** The level that the objective names; 0 at every step where it names none. */
export function createLevel(options: LevelOptions): Level {
  const { objective, settings } = options;
  if (objective.level === "referencePoint") return referencePoint(options);
  if (objective.level === "alpha" && settings.alpha === "auto") return balance(bonMargin(settings.n));
  const fixed = objective.level === "alpha" ? Number(settings.alpha) : 0;
  return { at: () => Promise.resolve(fixed), hear: undefined, memory: [], dispose: () => {} };
}

/** How much of its past the balance forgets at each step. */
const FORGET = 0.1;

/**
 * alpha = E[ipo] / (E[ipo] + E[nll]), which makes alpha E[nll] = (1 - alpha) E[ipo]: both terms contribute equally. The means
 * are exponential over the steps before; at the reference, where h = 0, they are c_n^2 and the mean of -log pi_ref(best).
 * @param target c_n
 */
function balance(target: number): Level {
  let means: readonly number[] = [];
  let heard = [0, 0];
  const fold = (): readonly number[] => {
    const [ipo = 0, nll = 0] = heard;
    // A step of ties alone says nothing, nor does one that overflowed and was skipped.
    if (nll !== 0 && Number.isFinite(ipo + nll))
      means = [ipo, nll].map((x, i) => means[i]! + FORGET * (x - means[i]!));
    heard = [0, 0];
    return means;
  };
  return {
    at(examples) {
      if (means.length === 0) means = [target ** 2, -mean(examples.map((e) => e.chosen.refLogprob))];
      const [ipo = 0, nll = 0] = fold();
      return Promise.resolve(ipo / (ipo + nll));
    },
    hear: (parts) => (heard = heard.map((x, i) => x + parts[i]!)),
    get memory() {
      return fold();
    },
    set memory(restored) {
      means = restored;
    },
    dispose: () => {},
  };
}

/** max(0, mean of log pi - log pi_ref) over the responses of a step, each with the prompt of the next example. */
function referencePoint({ policy, refPolicy, temperature, batch }: LevelOptions): Level {
  const scorer = createScorer({ policy, refPolicy, temperature, batch });
  return {
    async at(examples) {
      const { logprobs, refLogprobs } = await scorer.score(mismatched(examples.filter(({ tied }) => !tied)));
      const ratios = logprobs.map((row, i) => total(row) - total(refLogprobs[i]!));
      return Math.max(0, ratios.length > 0 ? mean(ratios) : 0);
    },
    hear: undefined,
    memory: [],
    dispose: () => scorer.dispose(),
  };
}

/** Every response with the prompt of the example after its own. */
export function mismatched(examples: readonly OfflineExample[]): Sequence[] {
  return examples.flatMap(({ chosen, rejected }, i) => {
    const { query } = examples[(i + 1) % examples.length]!.chosen;
    return [chosen, ...(rejected ? [rejected] : [])].map(({ response }) => ({ query, response }));
  });
}

const total = (row: Float32Array): number => row.reduce((a, b) => a + b, 0);
