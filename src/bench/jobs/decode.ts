/** Decoding: responses to short prompts, prefill included. */
import { createModel } from "../../../models/model.ts";
import type { Device } from "../../gpu/device.ts";
import { createEngine, type GenerateSettings } from "../../generate/engine.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import { input, record } from "../../tensor/tensor.ts";
import { type Job, type Plan, relativeError } from "../job.ts";
import { GPT2_SMALL, type Sizes, STORIES } from "../models.ts";

/** Few rows and many; and what a reward cache gains where samples share a prompt's prefill, against prompts that all differ. */
export const decodePlans: readonly Plan[] = [
  ...[64, 512].map((rows): Plan => ({
    name: `decode stories260K, ${rows} rows`,
    make: (device) => makeDecode(device, { sizes: STORIES, rows, prompt: 8, tokens: 48 }),
  })),
  {
    name: "decode GPT-2 small, 64 rows",
    runs: (device) => !device.software,
    make: (device) => makeDecode(device, { sizes: GPT2_SMALL, rows: 64, prompt: 32, tokens: 128 }),
  },
  ...[512, 1].map((shared): Plan => ({
    name: `decode stories260K, 512 rows, prompts of 32 tokens for ${shared === 1 ? "one row" : `${shared} rows`} each`,
    make: (device) => makeDecode(device, { sizes: STORIES, rows: 512, prompt: 32, tokens: 16, shared }),
  })),
];

/** `tokens` tokens to each of `rows` rows, after prompts of `prompt` tokens. */
export interface DecodeShape {
  readonly sizes: Sizes;
  readonly rows: number;
  readonly prompt: number;
  readonly tokens: number;
  /** Rows that have a prompt in common; default all. */
  readonly shared?: number;
}

/** Checked: the log-probabilities of a response against those of its whole text. */
export async function makeDecode(
  device: Device,
  { sizes, rows, prompt, tokens, shared = rows }: DecodeShape,
): Promise<Job> {
  const model = createModel(device, sizes, { trainable: false, seed: 1 });
  const settings: GenerateSettings = { temperature: 1, maxNewTokens: tokens, eosIds: [] };
  const engine = await createEngine(model, rows, prompt, settings);
  // The first two tokens tell prompts apart.
  const promptOf = (p: number): number[] => [
    1 + (p % 31),
    1 + Math.floor(p / 31),
    ...Array.from({ length: prompt - 2 }, (_, i) => i + 3),
  ];
  const requests = Array.from({ length: rows }, (_, i) => ({
    ids: promptOf(Math.floor(i / shared)),
    stream: [0, i] as const,
  }));
  return {
    flops: 0,
    bytes: 0,
    tokens: rows * settings.maxNewTokens,
    tolerance: 1e-5,
    async submit(times) {
      for (let i = 0; i < times; i++) await engine.generate(requests, { seed: i });
    },
    dispose() {
      engine.dispose();
      model.parameters.dispose();
    },
    async check() {
      const sample = (await engine.generate(requests, { seed: 0 })).at(-1)!;
      return relativeError(sample.logprobs, await scored(model, requests.at(-1)!.ids, sample.ids));
    },
  };
}

/** Log-probabilities of a response, the whole text scored at once. */
async function scored(
  model: LanguageModel,
  prompt: readonly number[],
  response: readonly number[],
): Promise<Float32Array> {
  const text = [...prompt, ...response];
  const T = text.length - 1;
  const program = await record(model.parameters.device, "score", () => {
    const batch = { ids: input([1, T], "u32"), positions: input([1, T], "u32"), range: input([1, 2], "u32") };
    const targets = input([T], "u32");
    const { logprobs } = model.logprobs(model.hidden(batch).reshape(T, -1), targets);
    return { batch, targets, logprobs };
  });
  const { batch, targets, logprobs } = program.result;
  batch.ids.write(text.slice(0, T));
  batch.positions.write(Array.from({ length: T }, (_, t) => t));
  batch.range.write([0, T]);
  targets.write(text.slice(1));
  program.run();
  const expected = (await logprobs.read()).slice(prompt.length - 1);
  program.dispose();
  return expected;
}
