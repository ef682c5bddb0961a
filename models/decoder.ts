/** What all families of language models share: an embedding at one end, tied to the LM head at the other or not. */
import { u32 } from "../src/data/weights/gguf-values.ts";
import { type ParameterSpec, weight } from "../src/nn/init.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { lastTokenClassifier } from "./classifier.ts";
import type { GgufForm, ModelFamily, Pass } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";
import type { SizedConfig } from "./sizes.ts";

/** What the config of a decoder says. */
export interface DecoderConfig extends SizedConfig {
  /** Whether the embedding makes the logits too. */
  readonly tied: boolean;
}

/** A family of decoders. */
export interface Decoder<C extends DecoderConfig> {
  /** Hugging Face's `model_type`. */
  readonly name: string;
  readonly architectures: ModelFamily["architectures"];
  /** Names of the embedding [V, C] and of the LM head [V, C] where it is not tied. */
  readonly embedding: string;
  readonly head: string;
  parse(hf: HfConfig): C;
  /** The parameter table of the trunk. */
  table(config: C): ParameterSpec[];
  rename(name: string): string | undefined;
  /** Records the forward pass: [B, T, C] after the final norm. */
  hidden(config: C, pass: Pass): Tensor;
  toHf(config: C): Record<string, unknown>;
  /** {@link GgufForm}, less the sizes that all have. */
  toGguf(config: C): GgufForm;
}

/** The model family of `decoder`. */
export function decoderFamily<C extends DecoderConfig>(decoder: Decoder<C>): ModelFamily {
  const { name, architectures, embedding, head, rename } = decoder;
  return {
    name,
    architectures,
    fromHf(hf) {
      const config = decoder.parse(hf);
      const { tied, initStd, vocabSize, nEmbd } = config;
      return {
        config,
        specs: decoder.table(config),
        lmHead: tied ? embedding : head,
        lmHeadSpec: tied ? undefined : weight(head, [vocabSize, nEmbd], { normal: initStd }),
        classifier: lastTokenClassifier(nEmbd, { normal: initStd }),
        rename,
        hidden: (pass) => decoder.hidden(config, pass),
        toHf: () => ({ ...decoder.toHf(config), tie_word_embeddings: tied }),
        toGguf: () => withSizes(decoder.toGguf(config), config),
      };
    },
  };
}

function withSizes(form: GgufForm, config: DecoderConfig): GgufForm {
  const sizes = {
    context_length: u32(config.blockSize),
    embedding_length: u32(config.nEmbd),
    block_count: u32(config.nLayer),
    feed_forward_length: u32(config.nInner),
    "attention.head_count": u32(config.nHead),
    "attention.head_count_kv": u32(config.nKvHead),
  };
  return { ...form, metadata: { ...sizes, ...form.metadata } };
}
