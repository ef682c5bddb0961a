/** Adapters in files written by hand, byte by byte as PEFT lays them out. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A tensor of a file. */
export interface HandTensor {
  readonly shape: readonly number[];
  readonly values: ArrayLike<number>;
}

/** PEFT's settings as its `save_pretrained` writes them, with `changes`. */
export function peftConfig(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: "somewhere/base",
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: 6,
    lora_dropout: 0.05,
    modules_to_save: null,
    peft_type: "LORA",
    r: 2,
    rank_pattern: {},
    revision: null,
    target_modules: ["q_proj", "v_proj"],
    task_type: "CAUSAL_LM",
    use_dora: false,
    use_rslora: false,
    ...changes,
  };
}

/** Writes `adapter_config.json` and `adapter_model.safetensors`: a length (8 bytes), a JSON header, f32 values. */
export function writeAdapter(
  folder: string,
  tensors: Readonly<Record<string, HandTensor>>,
  config: Readonly<Record<string, unknown>> = peftConfig(),
): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify(config, null, 2));
  let end = 0;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [end, (end += 4 * values.length)] };
  }
  const text = JSON.stringify(header);
  const head = Buffer.from(text.padEnd(8 * Math.ceil(text.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));
  const data = Object.values(tensors).map(({ values }) => Buffer.from(Float32Array.from(values).buffer));
  writeFileSync(join(folder, "adapter_model.safetensors"), Buffer.concat([length, head, ...data]));
  return folder;
}

/** Numbers that look random. */
export const waves = (count: number, phase: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.sin(1.7 * i + phase) / 3);
