/** The flags of low-rank adapters. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import type { LoraSettings } from "../../nn/lora.ts";

interface LoraFields {
  readonly lora: z.ZodOptional<z.ZodString>;
  readonly loraRank: z.ZodDefault<z.ZodNumber>;
  readonly loraAlpha: z.ZodDefault<z.ZodNumber>;
}

/** Of commands that train. */
export const loraFields: LoraFields = {
  lora: z.string().min(1).optional().meta({
    description:
      "train low-rank adapters on these linear maps only, the rest stays frozen: ends of their names, a regular expression of whole names, or all-linear",
    hint: "NAME,…|REGEX",
    heading: "LoRA",
  }),
  loraRank: z.number().int().min(1).default(8).meta({ description: "r: columns of an adapter's A" }),
  loraAlpha: z
    .number()
    .gt(0)
    .default(16)
    .meta({ description: "an adapter's product is multiplied by alpha / r" }),
};

/** The parsed values of {@link loraFields}. */
export interface LoraFlags {
  readonly lora?: string | undefined;
  readonly loraRank: number;
  readonly loraAlpha: number;
}

/** What the flags ask for; undefined: to train all weights. */
export function loraOf({ lora, loraRank, loraAlpha }: LoraFlags): LoraSettings | undefined {
  return lora === undefined ? undefined : { pattern: lora, rank: loraRank, alpha: loraAlpha };
}

/** Of commands that read a model. */
export const adapterField: z.ZodOptional<z.ZodString> = z.string().optional().meta({
  description: "a LoRA adapter in PEFT's format to put on it",
  hint: "DIR",
});

/**
 * An adapter trained on top of another would need a base that no folder holds.
 * @throws ConfigError when both are asked for
 */
export function checkAdapterBase(who: string, adapter: string | undefined, flags: LoraFlags): void {
  if (adapter === undefined || flags.lora === undefined) return;
  throw new ConfigError(
    `vbon ${who}: --lora beside --adapter ${adapter}; expected one of them: an adapter on top of another would stand on weights ` +
      "that no folder holds. Give the merged model (model/ of the run that made the adapter) instead of --adapter",
  );
}

/** @throws ConfigError where adapters are asked for and there is no model that they could stand on */
export function refuseLoraFromScratch(who: string, { lora }: LoraFlags): void {
  if (lora === undefined) return;
  throw new ConfigError(
    `vbon ${who}: --lora ${lora} trains adapters on a model; expected --model DIR beside it`,
  );
}
