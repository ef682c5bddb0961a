/** `vbon plan`: what `vbon align` with the same flags will take of GPU memory, before anything is loaded. */
import { z } from "zod";
import type { Device } from "../../gpu/device.ts";
import { formatBytes } from "../../gpu/memory.ts";
import { type Change, changeText, largestMicroBatch, whatHelps } from "../align/plan-advice.ts";
import { type Estimate, estimate, type PlanFlags } from "../align/plan-paper.ts";
import { nplus, vbonRelease } from "../align/presets.ts";
import { ALIGN_CHANGEABLE, alignSchema } from "../align/schema.ts";
import { REWARD_HELP } from "../open.ts";
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
  memory: z.number().positive().optional().meta({
    description:
      "GPU memory to fit into, in GiB (default: the machine's for a software adapter; GPUs do not say)",
    hint: "GIB",
  }),
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
  const limit = config.memory === undefined ? device.memory.limit : config.memory * 2 ** 30;
  const planned = await estimate(device, config, io);
  const fits = planned.refused === undefined && planned.total <= limit;
  const help = fits ? [] : await whatHelps(device, config, { limit, total: planned.total }, io);
  const largest = fits ? await largestMicroBatch(device, config, limit, io) : undefined;
  const shown = { config, planned, limit, fits, largest, help };
  io.result(recordOf(shown, device), textOf(shown, device));
  return fits ? undefined : "failed";
}

interface Shown {
  readonly config: Config;
  readonly planned: Estimate;
  readonly limit: number;
  readonly fits: boolean;
  /** The largest micro-batch that fits. */
  readonly largest: number | undefined;
  readonly help: readonly Change[];
}

function recordOf(
  { config, planned, limit, fits, largest, help }: Shown,
  device: Device,
): Readonly<Record<string, unknown>> {
  const { parts, total, refused, sizes } = planned;
  const { microBatch, rows, rollout, method } = config;
  return {
    adapter: device.name,
    method,
    ...sizes,
    microBatch,
    rows,
    rollout,
    parts,
    total,
    limit: Number.isFinite(limit) ? limit : undefined,
    fits,
    largestMicroBatch: largest,
    refused,
    help: help.map(({ flags, total: bytes, fits: does }) => ({ flags, total: bytes, fits: does })),
  };
}

function textOf({ config, planned, limit, fits, largest, help }: Shown, device: Device): string {
  const { parts, total, refused, sizes } = planned;
  const known = Object.entries(parts).filter(([, bytes]) => bytes > 0);
  const width = Math.max(8, ...known.map(([name]) => name.length));
  const line = (name: string, bytes: number): string =>
    `${name.padEnd(width)}  ${formatBytes(bytes).padStart(11)}`;
  return [
    headline(config, sizes, device),
    ...known.map(([name, bytes]) => line(name, bytes)),
    line("in all", total),
    verdict(refused, total, limit, fits),
    ...(largest !== undefined && largest > config.microBatch
      ? [`up to --micro-batch ${largest} would fit`]
      : []),
    ...help.map(changeText),
  ].join("\n");
}

function headline({ method, microBatch }: Config, sizes: Estimate["sizes"], device: Device): string {
  const { parameters, promptTokens, maxNewTokens } = sizes ?? {};
  const what = sizes
    ? `, ${parameters} parameters, --micro-batch ${microBatch} of ${promptTokens} + ${maxNewTokens} tokens`
    : "";
  return `vbon align --method ${method}${what}, on ${device.name}`;
}

function verdict(refused: string | undefined, total: number, limit: number, fits: boolean): string {
  if (refused !== undefined) return `does not fit this adapter: ${refused}`;
  if (!Number.isFinite(limit))
    return "this adapter does not say how much memory it has; --memory GIB compares with that";
  return fits
    ? `fits: ${formatBytes(limit)} are there`
    : `does not fit: ${formatBytes(total)} are needed, the limit is ${formatBytes(limit)}`;
}
