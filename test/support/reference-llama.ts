/** Llama and its kin in float64, after Hugging Face's modeling files: no code of ours. */
import * as layers from "./reference-layers.ts";
import type { Rows, Weights } from "./reference-layers.ts";

/** The fields of `config.json` that the reference reads. */
export interface LlamaJson {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim?: number;
  readonly rms_norm_eps: number;
  readonly rope_theta?: number;
  readonly rope_scaling?: Readonly<Record<string, number | string>>;
  readonly rope_parameters?: Readonly<Record<string, number | string>>;
  readonly [key: string]: unknown;
}

/** Logits [T, V] of one row. */
export function llamaLogits(json: LlamaJson, w: Weights, ids: readonly number[]): number[][] {
  const { hidden_size: C, rms_norm_eps: eps } = json;
  let x = layers.lookUp(w, "model.embed_tokens.weight", ids, C);
  for (let i = 0; i < json.num_hidden_layers; i++) {
    const name = `model.layers.${i}`;
    const normed = layers.rmsNorm(w, `${name}.input_layernorm`, x, eps);
    x = layers.addRows(x, selfAttention(json, w, `${name}.self_attn`, normed));
    const second = layers.rmsNorm(w, `${name}.post_attention_layernorm`, x, eps);
    x = layers.addRows(x, mlp(w, `${name}.mlp`, second));
  }
  const head = w.has("lm_head.weight") ? "lm_head" : "model.embed_tokens";
  return layers.dense(w, head, layers.rmsNorm(w, "model.norm", x, eps));
}

function selfAttention(json: LlamaJson, w: Weights, name: string, x: Rows): number[][] {
  const { num_attention_heads: H, num_key_value_heads: G } = json;
  const D = json.head_dim ?? json.hidden_size / H;
  const [q, k, v] = ["q_proj", "k_proj", "v_proj"].map((part) => layers.dense(w, `${name}.${part}`, x));
  const turned = (rows: Rows, h: number, norm: string): number[][] => {
    const head = layers.headOf(rows, h, D);
    const normed = w.has(`${norm}.weight`) ? layers.rmsNorm(w, norm, head, json.rms_norm_eps) : head;
    return normed.map((row, t) => turn(row, t, frequencies(json, D)));
  };
  const heads = Array.from({ length: H }, (_, h) => {
    const g = Math.floor(h / (H / G));
    const [query, key] = [turned(q!, h, `${name}.q_norm`), turned(k!, g, `${name}.k_norm`)];
    return layers.attend(query, key, layers.headOf(v!, g, D), (i, j) => j <= i);
  });
  return layers.dense(w, `${name}.o_proj`, layers.joinHeads(heads));
}

/** `rotate_half`: x cos + (-x₂, x₁) sin, angles repeated for both halves. */
function turn(row: readonly number[], position: number, freqs: readonly number[]): number[] {
  const half = row.length / 2;
  return row.map((x, d) => {
    const angle = position * freqs[d % half]!;
    const other = d < half ? -row[d + half]! : row[d - half]!;
    return x * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** `ROPE_INIT_FUNCTIONS` of modeling_rope_utils.py, branch by branch. */
function frequencies(json: LlamaJson, D: number): number[] {
  const fields = json.rope_parameters ?? json.rope_scaling ?? {};
  const theta = (json.rope_parameters?.["rope_theta"] as number) ?? json.rope_theta ?? 10000;
  const plain = Array.from({ length: D / 2 }, (_, i) => 1 / theta ** ((2 * i) / D));
  const type = fields["rope_type"] ?? fields["type"];
  const factor = fields["factor"] as number;
  if (type === "linear") return plain.map((f) => f / factor);
  if (type !== "llama3") return plain;
  const [low, high, old] = ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"].map(
    (key) => fields[key] as number,
  ) as [number, number, number];
  return plain.map((f) => {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength > old / low) return f / factor;
    if (wavelength < old / high) return f;
    const smooth = (old / wavelength - low) / (high - low);
    return ((1 - smooth) * f) / factor + smooth * f;
  });
}

function mlp(w: Weights, name: string, x: Rows): number[][] {
  const [gate, up] = [layers.dense(w, `${name}.gate_proj`, x), layers.dense(w, `${name}.up_proj`, x)];
  const inner = gate.map((row, t) => row.map((g, i) => (g / (1 + Math.exp(-g))) * up[t]![i]!));
  return layers.dense(w, `${name}.down_proj`, inner);
}
