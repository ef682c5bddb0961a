/** The flags of sampling, the same in every command that draws text. */
import { z } from "zod";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import type { GenerateSettings } from "../../generate/engine.ts";
import { type Stop, stopAt } from "../../generate/stop.ts";
import type { KvDtype } from "../../nn/kv-cache.ts";

/** Fields of a command's schema. */
export interface SamplingFields {
  readonly temperature: z.ZodDefault<z.ZodNumber>;
  readonly topK: z.ZodDefault<z.ZodNumber>;
  readonly topP: z.ZodDefault<z.ZodNumber>;
}

/** `--kv-dtype`: of the keys and values that decoding keeps. */
export const kvDtypeField: z.ZodDefault<z.ZodEnum<{ f32: "f32"; f16: "f16" }>> = z
  .enum(["f32", "f16"])
  .default("f32")
  .meta({
    description:
      "of cached keys and values; f16 takes half the memory, is a little faster, and draws slightly other text",
  });

/** `--stop`: where responses end, beside the model's end tokens. */
export const stopField: z.ZodOptional<z.ZodString> = z
  .string()
  .min(1, "expected a text to end at")
  .optional()
  .meta({
    description:
      'end a response where it has said this, as well as at an end token; \\n is a new line, as in --stop "\\n\\n"',
    hint: "TEXT",
  });

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", "\\": "\\" };

/** What the flags of sampling give. */
interface SamplingFlags {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly greedy?: boolean;
  readonly kvDtype: KvDtype;
  readonly stop?: string | undefined;
}

/** What they mean to an engine. */
export function drawing(
  { temperature, topK, topP, greedy = false, kvDtype, stop }: SamplingFlags,
  tokenizer: Tokenizer,
): Omit<GenerateSettings, "maxNewTokens" | "eosIds"> {
  return { temperature, topK, topP, greedy, kvDtype, ...stopOf(stop, tokenizer) };
}

/** What `--stop` means: shells have no easy way to say a new line. */
export function stopOf(typed: string | undefined, tokenizer: Tokenizer): { readonly stop?: Stop } {
  if (typed === undefined) return {};
  const text = typed.replace(/\\([nt\\])/g, (_, letter: string) => ESCAPES[letter]!);
  return { stop: stopAt(text, tokenizer) };
}

/** `--temperature --top-k --top-p`. */
export const samplingFields: SamplingFields = {
  temperature: z.number().positive().default(1).meta({ description: "divides the logits", hint: "T" }),
  topK: z
    .number()
    .int()
    .min(0)
    .default(0)
    .meta({ description: "draw among the K likeliest tokens; 0 = all", hint: "K" }),
  topP: z.number().positive().max(1).default(1).meta({
    description: "draw among the likeliest tokens that together have probability P; 1 = all",
    hint: "P",
  }),
};
