/** `vbon plan`: what `vbon align` with the same flags will take of GPU memory, before anything is loaded. */
import { z } from "zod";
import { candidates, largestMicroBatch } from "../align/plan-advice.ts";
import { type Estimate, estimate, type PlanFlags } from "../align/plan-paper.ts";
import { nplus, vbonRelease } from "../align/presets.ts";
import { ALIGN_CHANGEABLE, alignSchema } from "../align/schema.ts";
import { REWARD_HELP } from "../open.ts";
import { fitsInto, whatHelps } from "../plan/advice.ts";
import { limitOf, memoryField, planRecord, planText } from "../plan/text.ts";
import { type AnyVerb, defineVerb, type Io, type Outcome } from "../verb.ts";

const count = z.number().int().positive();

const schema = z.strictObject({
  ...alignSchema.shape,
  reward: z.string().optional().meta({ description: REWARD_HELP, hint: "SPEC" }),
  cache: z.string().optional().meta({
    description:
      "the reference's scores, of which only the lengths matter; or say with --prompts and --prompt-tokens what it will hold",
    hint: "TRAIN.jsonl",
  }),
  out: z
    .string()
    .optional()
    .meta({ description: "not written; with --resume, the run whose settings to take", hint: "DIR" }),
  prompts: count
    .default(512)
    .meta({ description: "prompts, where there is no --cache", heading: "The plan" }),
  promptTokens: count
    .default(8)
    .meta({ description: "tokens of the longest prompt, BOS counted, where there is no --cache" }),
  memory: memoryField,
});

type Config = z.output<typeof schema> & PlanFlags & { readonly memory?: number | undefined };

/** The command: exit code 1 where the run does not fit. */
export const plan: AnyVerb = defineVerb({
  name: "plan",
  summary:
    "what `vbon align` with the same flags will take of GPU memory, and whether it fits, before anything is loaded",
  schema,
  changeableOnResume: [...ALIGN_CHANGEABLE, "prompts", "promptTokens", "memory"],
  presets: { nplus, "vbon-release": vbonRelease },
  examples: [
    {
      does: "does aligning a model of 124 million parameters fit into 8 GiB?",
      line: "vbon plan --policy DIR --reward DIR --method vbon --prompt-tokens 64 --max-new-tokens 48 --memory 8",
    },
    {
      does: "the same for adapters, by cached prompts",
      line: "vbon plan --policy DIR --reward lexicon:vader --cache train.jsonl --lora all-linear",
    },
  ],
  run: (config, io) => run(config as unknown as Config, io),
});

async function run(config: Config, io: Io): Promise<Outcome> {
  const device = await io.device();
  const limit = limitOf(device, config.memory);
  const planned = await estimate(device, config, io);
  const fits = fitsInto(planned, limit);
  const changed = (settings: Partial<PlanFlags>): Promise<Estimate> =>
    estimate(device, { ...config, ...settings }, io);
  const { total } = planned;
  const help = fits ? [] : await whatHelps(candidates(config, device), changed, { limit, total });
  const largest = fits ? await largestMicroBatch(device, config, limit, io) : undefined;
  const { microBatch, rows, rollout, method } = config;
  const remarks =
    largest !== undefined && largest > microBatch ? [`up to --micro-batch ${largest} would fit`] : [];
  const shown = { headline: headline(config, planned.sizes), planned, limit, remarks, help };
  const sizes = { method, ...planned.sizes, microBatch, rows, rollout };
  const record = { adapter: device.name, ...sizes, ...planRecord(shown), largestMicroBatch: largest };
  io.result(record, planText(shown, device));
  return fits ? undefined : "failed";
}

function headline({ method, microBatch }: Config, sizes: Estimate["sizes"]): string {
  const { parameters, promptTokens, maxNewTokens } = sizes ?? {};
  const what = sizes
    ? `, ${parameters} parameters, --micro-batch ${microBatch} of ${promptTokens} + ${maxNewTokens} tokens`
    : "";
  return `vbon align --method ${method}${what}`;
}
