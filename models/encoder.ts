/** BERT's trunk, under several names: attention both ways, a LayerNorm after each sum, learned positions. */
import { attend } from "../src/nn/attention.ts";
import { type ParameterSpec, weight } from "../src/nn/init.ts";
import { stack } from "../src/nn/stack.ts";
import { ConfigError } from "../src/errors.ts";
import { cast } from "../src/ops/cast.ts";
import { add } from "../src/ops/binary.ts";
import { embedding } from "../src/ops/embedding.ts";
import { slice } from "../src/ops/layout.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import type { Activation } from "./activations.ts";
import type { Classifier } from "./classifier.ts";
import type { ModelFamily, Pass } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";
import { blockSpecs, linearLayers, linearSpecs, norms, normSpecs } from "./layers.ts";
import type { SizedConfig } from "./sizes.ts";

/** What the config of an encoder says. */
export interface EncoderConfig extends SizedConfig {
  readonly eps: number;
  readonly activation: Activation;
  /** The row of the position table that the first token takes. */
  readonly firstPosition: number;
  /** Kinds of tokens (of the first text, of the second); 0: no table of them. */
  readonly tokenTypes: number;
}

/** Where the tensors are: the blocks below the trunk, the layers below a block. */
export interface EncoderNames {
  /** What all names of the trunk begin with. */
  readonly trunk: string;
  readonly blocks: string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly attentionOut: string;
  readonly attentionNorm: string;
  readonly up: string;
  readonly down: string;
  readonly mlpNorm: string;
}

/** The names of BERT and RoBERTa. */
export const bertNames = (trunk: string): EncoderNames => ({
  trunk,
  blocks: "encoder.layer",
  query: "attention.self.query",
  key: "attention.self.key",
  value: "attention.self.value",
  attentionOut: "attention.output.dense",
  attentionNorm: "attention.output.LayerNorm",
  up: "intermediate.dense",
  down: "output.dense",
  mlpNorm: "output.LayerNorm",
});

/** A family of encoders. */
export interface Encoder {
  /** Hugging Face's `model_type`, and what its class names begin with. */
  readonly name: string;
  readonly prefix: string;
  readonly names: EncoderNames;
  parse(hf: HfConfig): EncoderConfig;
  classifier(config: EncoderConfig): Classifier;
  /** Tensors of checkpoints that are neither of the trunk nor of the classifier, by how their names begin. */
  readonly ignored: RegExp;
  toHf(config: EncoderConfig): Record<string, unknown>;
}

/** The model family of `encoder`. */
export function encoderFamily(encoder: Encoder): ModelFamily {
  const { name, prefix, names } = encoder;
  return {
    name,
    architectures: { lm: `${prefix}ForMaskedLM`, scalar: `${prefix}ForSequenceClassification` },
    fromHf(hf) {
      const config = encoder.parse(hf);
      return {
        config,
        specs: table(config, names),
        lmHead: undefined,
        lmHeadSpec: undefined,
        classifier: encoder.classifier(config),
        rename: (tensor) => rename(tensor, encoder),
        hidden: (pass) => hidden(config, names, pass),
        toHf: () => encoder.toHf(config),
      };
    },
  };
}

/** The parameter table. */
function table(config: EncoderConfig, names: EncoderNames): ParameterSpec[] {
  const { nEmbd: C, nInner, initStd, tokenTypes } = config;
  const std = { normal: initStd };
  const start = `${names.trunk}.embeddings`;
  const block = (h: string): ParameterSpec[] => [
    ...linearSpecs(`${h}.${names.query}`, [C, C], std),
    ...linearSpecs(`${h}.${names.key}`, [C, C], std),
    ...linearSpecs(`${h}.${names.value}`, [C, C], std),
    ...linearSpecs(`${h}.${names.attentionOut}`, [C, C], std),
    ...normSpecs(`${h}.${names.attentionNorm}`, C),
    ...linearSpecs(`${h}.${names.up}`, [nInner, C], std),
    ...linearSpecs(`${h}.${names.down}`, [C, nInner], std),
    ...normSpecs(`${h}.${names.mlpNorm}`, C),
  ];
  return [
    weight(`${start}.word_embeddings.weight`, [config.vocabSize, C], std),
    weight(`${start}.position_embeddings.weight`, [config.maxPositions, C], std),
    ...(tokenTypes > 0 ? [weight(`${start}.token_type_embeddings.weight`, [tokenTypes, C], std)] : []),
    ...normSpecs(`${start}.LayerNorm`, C),
    ...blockSpecs(`${names.trunk}.${names.blocks}`, config.nLayer, block),
  ];
}

function hidden(
  config: EncoderConfig,
  names: EncoderNames,
  { parameters: p, batch, computing, cache }: Pass,
): Tensor {
  if (cache)
    throw new ConfigError(
      `${config.family}: an encoder reads whole texts; it cannot decode token by token over a cache`,
    );
  const norm = norms(p, config.eps);
  const { dense, onto, mlp } = linearLayers(p, computing);
  const { kind } = config.activation;
  const attention = (x: Tensor, h: string, layer: number): Tensor => {
    const qkv = dense(x, `${h}.${names.query}`, `${h}.${names.key}`, `${h}.${names.value}`);
    const y = attend(qkv, { config, batch, cache: undefined, layer, ...computing, causal: false });
    return onto(x, y, `${h}.${names.attentionOut}`);
  };
  const block = (x: Tensor, layer: number): Tensor => {
    const h = `${names.trunk}.${names.blocks}.${layer}`;
    const middle = norm(attention(x, h, layer), `${h}.${names.attentionNorm}`);
    const y = mlp(middle, middle, { up: `${h}.${names.up}`, down: `${h}.${names.down}`, kind });
    return norm(y, `${h}.${names.mlpNorm}`);
  };
  return stack(embeddings(config, names, p, batch, norm), config.nLayer, block, computing);
}

/** The sum of each token's embedding, its position's and its type's (0 where the batch does not say), normed. */
function embeddings(
  { firstPosition, maxPositions, tokenTypes }: EncoderConfig,
  { trunk }: EncoderNames,
  p: Pass["parameters"],
  { ids, positions, types }: Pass["batch"],
  norm: (x: Tensor, name: string) => Tensor,
): Tensor {
  const of = (name: string): Tensor => p.get(`${trunk}.embeddings.${name}_embeddings.weight`);
  const places = cast(of("position"), "f32");
  const from = firstPosition > 0 ? slice(places, 0, firstPosition, maxPositions) : places;
  const sum = add(embedding(of("word"), ids), embedding(from, positions));
  if (tokenTypes === 0) return norm(sum, `${trunk}.embeddings.LayerNorm`);
  const kinds = cast(of("token_type"), "f32");
  const kind = types ? embedding(kinds, types) : slice(kinds, 0, 0, 1);
  return norm(add(sum, kind), `${trunk}.embeddings.LayerNorm`);
}

/** Older checkpoints lack the prefix, or call a LayerNorm's tensors gamma and beta; some store a table of positions. */
function rename(tensor: string, { names, ignored }: Encoder): string | undefined {
  if (tensor.endsWith(".position_ids") || ignored.test(tensor)) return undefined;
  const whole = /^(embeddings|encoder|transformer|pooler)\./.test(tensor)
    ? `${names.trunk}.${tensor}`
    : tensor;
  if (ignored.test(whole)) return undefined;
  return whole.replace(/LayerNorm\.gamma$/, "LayerNorm.weight").replace(/LayerNorm\.beta$/, "LayerNorm.bias");
}
