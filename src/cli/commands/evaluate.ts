/** `vbon evaluate`: a policy against its reference on held-out prompts. */
import { z } from "zod";
import { createScorer, type Scorer } from "../../align/scorer.ts";
import { writeFileAtomic } from "../../data/files.ts";
import { ConfigError } from "../../errors.ts";
import { createEngine, type Engine } from "../../generate/engine.ts";
import { type CacheTask, openCacheTask } from "../cache/task.ts";
import { measure } from "../evaluate/measure.ts";
import { evaluationReport, judgeFor } from "../evaluate/report.ts";
import { frozenFields, frozenOf } from "../flags/frozen.ts";
import { adapterField } from "../flags/lora.ts";
import { endIds, type Opened, openLanguageModel, openReward, REWARD_HELP } from "../open.ts";
import { type AnyVerb, defineVerb } from "../verb.ts";

const count = z.number().int().positive();

const schema = z.strictObject({
  policy: z.string().meta({ description: "the model to judge", hint: "DIR" }),
  adapter: adapterField,
  reference: z
    .string()
    .meta({ description: "the model it is judged against, which made the cache", hint: "DIR" }),
  reward: z.string().meta({ description: REWARD_HELP, hint: "SPEC" }),
  cache: z.string().meta({
    description: "the reference's scores for the prompts to evaluate on (`vbon cache`)",
    hint: "TEST.jsonl",
  }),
  out: z
    .string()
    .optional()
    .meta({ description: "also write the results there, as JSON", hint: "FILE.json" }),
  n: z
    .number()
    .min(1)
    .default(8)
    .meta({ description: "the N of J, an estimate of -KL(policy || Best-of-N policy): 0 is perfect" }),
  samples: count.default(16).meta({ description: "responses of the policy to each prompt" }),
  seed: z
    .number()
    .int()
    .min(0)
    .default(0)
    .meta({ description: "the same seed gives every policy the same random numbers" }),
  temperature: z
    .number()
    .positive()
    .optional()
    .meta({ description: "of sampling (default: the cache's, which it must be)", hint: "T" }),
  maxNewTokens: count
    .optional()
    .meta({ description: "most tokens of a response (default: the cache's, which it must be)" }),
  rows: count.default(512).meta({ description: "responses decoded side by side" }),
  ...frozenFields,
});

type Config = z.output<typeof schema>;

/** Two tables on stdout; with `--json` or `--out` the same numbers, and more, as JSON. */
export const evaluate: AnyVerb = defineVerb({
  name: "evaluate",
  summary: "compare a policy with its reference and with Best-of-N: win rate, reward, KL, J",
  schema,
  examples: [
    {
      does: "an aligned model on held-out prompts",
      line: "vbon evaluate --policy runs/aligned/model --reference runs/stories/model --reward lexicon:vader --cache test.jsonl",
    },
  ],
  async run(config, io) {
    const device = await io.device();
    const frozen = frozenOf(config, device);
    const reference = await openLanguageModel(device, config.reference, frozen);
    const policy = await openLanguageModel(device, config.policy, undefined, config.adapter);
    checkPair(policy, reference, config);
    const reward = await openReward(device, config.reward, frozen);
    const { model, tokenizer } = reference;
    const task = await openCacheTask(config.cache, { reference: model, tokenizer, reward, asked: config });
    const judge = judgeFor(config.n);
    const parts = await prepare(policy, reference, task, config);
    const { samples, seed } = config;
    const evaluation = await measure(
      { ...parts, tokenizer: policy.tokenizer, reward, task, judge, samples, seed },
      io,
    );
    const report = evaluationReport("policy", evaluation, task.entries, judge);
    if (config.out !== undefined)
      await writeFileAtomic(config.out, `${JSON.stringify(report.record, null, 2)}\n`);
    io.result(report.record, report.text);
    for (const part of [parts.engine, parts.scorer, policy, reference]) part.dispose();
  },
});

function checkPair(policy: Opened, reference: Opened, config: Config): void {
  const [a, b] = [policy.model.config.vocabSize, reference.model.config.vocabSize];
  if (a === b) return;
  throw new ConfigError(
    `vbon evaluate: ${config.policy} has a vocabulary of ${a}, ${config.reference} of ${b}; expected the policy to descend from the reference`,
  );
}

async function prepare(
  policy: Opened,
  reference: Opened,
  { prompts, sampling }: CacheTask,
  config: Config,
): Promise<{ engine: Engine; scorer: Scorer }> {
  const longest = Math.max(...prompts.map((p) => p.ids.length));
  const rows = Math.min(config.rows, config.samples * prompts.length);
  const eosIds = endIds(policy.model, policy.tokenizer);
  const engine = await createEngine(policy.model, rows, longest, { ...sampling, eosIds });
  const { temperature } = sampling;
  return {
    engine,
    scorer: createScorer({ policy: policy.model, refPolicy: reference.model, temperature, batch: SCORED }),
  };
}

/** Responses scored side by side. */
const SCORED = 64;
