/** The flags of what is trained of a model: its last blocks alone. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import type { LayerSettings } from "../../nn/last-layers.ts";

interface LayerFields {
  readonly trainableLayers: z.ZodOptional<z.ZodNumber>;
  readonly trainPositions: z.ZodDefault<z.ZodBoolean>;
}

/** Of commands that train. */
export const layerFields: LayerFields = {
  trainableLayers: z.number().int().min(1).optional().meta({
    description:
      "train only so many of the last blocks, and what follows them; the rest stays frozen (default: all is trained)",
    hint: "K",
    heading: "What is trained",
  }),
  trainPositions: z.boolean().default(false).meta({
    description:
      "beside --trainable-layers: the table of learned positions too, as the released code of vBoN does",
  }),
};

/** The parsed values of {@link layerFields}. */
export interface LayerFlags {
  readonly trainableLayers?: number | undefined;
  readonly trainPositions: boolean;
}

/**
 * What the flags ask for; undefined: to train all blocks.
 * @throws ConfigError for flags that exclude each other
 */
export function layersOf(
  who: string,
  {
    trainableLayers: count,
    trainPositions: positions,
    lora,
  }: LayerFlags & { readonly lora?: string | undefined },
): LayerSettings | undefined {
  if (count === undefined) {
    if (positions)
      throw new ConfigError(
        `vbon ${who}: --train-positions says nothing without --trainable-layers; give both`,
      );
    return undefined;
  }
  if (lora !== undefined)
    throw new ConfigError(
      `vbon ${who}: --trainable-layers ${count} beside --lora ${lora}; expected one of them. A regular expression of whole ` +
        String.raw`names puts adapters on some layers only, such as --lora ".*\.(10|11)\..*"`,
    );
  return { count, positions };
}

/** @throws ConfigError where layers are to stay frozen that no model has filled yet */
export function refuseLayersFromScratch(who: string, { trainableLayers }: LayerFlags): void {
  if (trainableLayers === undefined) return;
  throw new ConfigError(
    `vbon ${who}: --trainable-layers ${trainableLayers} trains the last layers of a model; expected --model DIR beside it`,
  );
}
