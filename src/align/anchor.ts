/** The anchor of J-BOND: a frozen policy whose weights follow those that are trained (Sessa et al. 2024, section 5). */
import { createEngine, type GenerateSettings } from "../generate/engine.ts";
import type { LanguageModel } from "../nn/lm.ts";
import { frozenCopy, type Parameters } from "../nn/parameters.ts";
import { createAverage } from "../optim/average.ts";
import type { MissingEos } from "./best-of-n/cdf.ts";
import type { Jury } from "./judge.ts";
import { createScorer } from "./scorer.ts";
import { anchorTeacher, type Teacher } from "./teacher.ts";

/** What an anchor needs. */
export interface AnchorOptions extends Jury {
  readonly policy: LanguageModel;
  readonly generate: GenerateSettings;
  /** eta: after every optimizer step the anchor's weights are (1 - eta) of their own and eta of the policy's. */
  readonly rate: number;
  readonly seed: number;
  /** What a response without an end scores. */
  readonly missingEos: MissingEos;
  /** Sequences decoded side by side, and the longest prompt. */
  readonly rows: number;
  readonly longest: number;
  /** Sequences a forward pass of the scorer, and positions a sequence. */
  readonly microBatch: number;
  readonly positions: number;
}

/** The anchor as a teacher, and its weights, which a checkpoint keeps. It starts as the policy. */
export async function createAnchor(
  options: AnchorOptions,
): Promise<{ readonly teacher: Teacher; readonly parameters: Parameters }> {
  const { policy, generate, rate, rows, longest, microBatch, positions } = options;
  const parameters = frozenCopy(policy.parameters);
  const anchor = policy.with(parameters);
  const moving = await createAverage(policy.parameters, parameters);
  const engine = await createEngine(anchor, rows, longest, generate);
  const { temperature } = generate;
  const scorer = createScorer({ policy, refPolicy: anchor, temperature, batch: microBatch });
  await engine.prepare(Math.min(rows, options.prompts.length));
  await scorer.prepare(positions);
  const teacher = anchorTeacher({
    ...options,
    engine,
    scorer,
    follow: () => moving.add(rate),
    dispose() {
      moving.dispose();
      parameters.dispose();
    },
  });
  return { teacher, parameters };
}
