/** The sizes of a transformer in a `config.json`, in the spelling of its family. */
import type { ModelConfig } from "../src/nn/lm.ts";
import type { HfConfig } from "./hf-config.ts";

/** What every family's config says. */
export interface SizedConfig extends ModelConfig {
  /** Width of the MLP. */
  readonly nInner: number;
  /** Positions as the config counts them; `blockSize` may be less. */
  readonly maxPositions: number;
  /** Standard deviation of initial weights. */
  readonly initStd: number;
}

/** How a family spells its sizes. */
export interface SizeKeys {
  readonly nEmbd: string;
  readonly nHead: string;
  readonly nLayer: string;
  readonly nInner: string;
  readonly maxPositions: string;
}

/** The spelling that most families share. */
export const SIZE_KEYS: SizeKeys = {
  nEmbd: "hidden_size",
  nHead: "num_attention_heads",
  nLayer: "num_hidden_layers",
  nInner: "intermediate_size",
  maxPositions: "max_position_embeddings",
};

/**
 * Reads the sizes of a family whose heads split the width evenly, with as many key heads as query heads.
 * @param nInner width of the MLP where the config does not say; required by default
 * @throws FormatError when a size is missing or malformed, or the heads do not divide the width
 */
export function readEvenSizes(hf: HfConfig, family: string, keys: SizeKeys, nInner?: number): SizedConfig {
  const [nEmbd, nHead] = [hf.count(keys.nEmbd), hf.count(keys.nHead)];
  if (nEmbd % nHead !== 0) hf.refuse(`${keys.nEmbd} ${nEmbd} is not a multiple of ${keys.nHead} ${nHead}`);
  const heads = { nHead, nKvHead: nHead, headDim: nEmbd / nHead };
  return { ...readSizes(hf, family, keys, nInner), ...heads };
}

/** The sizes that say nothing of heads. */
export function readSizes(
  hf: HfConfig,
  family: string,
  keys: SizeKeys,
  nInner?: number,
): Omit<SizedConfig, "nHead" | "nKvHead" | "headDim"> {
  const maxPositions = hf.count(keys.maxPositions);
  return {
    family,
    vocabSize: hf.count("vocab_size"),
    blockSize: maxPositions,
    maxPositions,
    nLayer: hf.count(keys.nLayer),
    nEmbd: hf.count(keys.nEmbd),
    nInner: hf.count(keys.nInner, nInner),
    bosId: hf.tokenId("bos_token_id"),
    eosId: hf.tokenId("eos_token_id"),
    initStd: hf.positive("initializer_range", 0.02),
  };
}

/** The same fields of a `config.json`. */
export function writeSizes(config: SizedConfig, keys: SizeKeys): Record<string, unknown> {
  const sizes = (Object.keys(keys) as (keyof SizeKeys)[]).map((key) => [keys[key], config[key]]);
  return {
    model_type: config.family,
    vocab_size: config.vocabSize,
    ...Object.fromEntries(sizes),
    initializer_range: config.initStd,
  };
}
