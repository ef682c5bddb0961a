/** BERT and RoBERTa with their classifiers in float64, after Hugging Face's modeling files: no code of ours. */
import * as layers from "./reference-layers.ts";
import type { Rows, Weights } from "./reference-layers.ts";

/** The fields of `config.json` that the reference reads. */
export interface BertJson {
  readonly model_type: "bert" | "roberta";
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly layer_norm_eps: number;
  readonly pad_token_id?: number;
  readonly [key: string]: unknown;
}

/** Logits of one text. */
export function bertLogits(
  json: BertJson,
  w: Weights,
  ids: readonly number[],
  types: readonly number[] = ids.map(() => 0),
): number[] {
  const { hidden_size: C, layer_norm_eps: eps, model_type: trunk } = json;
  const from = `${trunk}.embeddings`;
  const first = trunk === "roberta" ? json.pad_token_id! + 1 : 0;
  const words = layers.lookUp(w, `${from}.word_embeddings.weight`, ids, C);
  const places = layers.lookUp(w, `${from}.position_embeddings.weight`, ids.map((_, t) => first + t), C); // prettier-ignore
  const kinds = layers.lookUp(w, `${from}.token_type_embeddings.weight`, types, C);
  const sum = layers.addRows(layers.addRows(words, kinds), places);
  let x = layers.layerNorm(w, `${from}.LayerNorm`, sum, eps);
  for (let i = 0; i < json.num_hidden_layers; i++) {
    const name = `${trunk}.encoder.layer.${i}`;
    const seen = selfAttention(json, w, `${name}.attention`, x);
    x = layers.layerNorm(w, `${name}.attention.output.LayerNorm`, layers.addRows(seen, x), eps);
    const inner = layers.dense(w, `${name}.intermediate.dense`, x).map((row) => row.map(geluTanh));
    const out = layers.dense(w, `${name}.output.dense`, inner);
    x = layers.layerNorm(w, `${name}.output.LayerNorm`, layers.addRows(out, x), eps);
  }
  const [inner, outer] =
    trunk === "bert" ? ["bert.pooler.dense", "classifier"] : ["classifier.dense", "classifier.out_proj"];
  const pooled = layers.dense(w, inner, [x[0]!]).map((row) => row.map(Math.tanh));
  return layers.dense(w, outer, pooled)[0]!;
}

function selfAttention(json: BertJson, w: Weights, name: string, x: Rows): number[][] {
  const H = json.num_attention_heads;
  const D = json.hidden_size / H;
  const [q, k, v] = ["query", "key", "value"].map((part) => layers.dense(w, `${name}.self.${part}`, x));
  const heads = Array.from({ length: H }, (_, h) =>
    layers.attend(layers.headOf(q!, h, D), layers.headOf(k!, h, D), layers.headOf(v!, h, D)),
  );
  return layers.dense(w, `${name}.output.dense`, layers.joinHeads(heads));
}

/** `gelu_new`: the one that needs no error function; goldens of DistilBERT have the exact one. */
const geluTanh = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
