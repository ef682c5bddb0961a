/** Language models as files for llama.cpp. What it calls their tensors, each family says in its own file. */
import { writeGguf } from "../src/data/weights/gguf.ts";
import { type GgufMetadata, u32 } from "../src/data/weights/gguf-values.ts";
import { ggufTokenizer } from "../src/data/tokenizer/gguf.ts";
import type { FloatsToWrite } from "../src/data/weights/safetensors-layout.ts";
import type { Tokenizer } from "../src/data/tokenizer/tokenizer.ts";
import { ConfigError } from "../src/errors.ts";
import type { ParameterSpec } from "../src/nn/init.ts";
import type { LanguageModel } from "../src/nn/lm.ts";
import { mergedPieces, mergedValues } from "../src/nn/lora.ts";
import type { GgufForm } from "./family.ts";
import type { SaveDtype } from "./load.ts";
import { blueprint } from "./model.ts";

/** `enum llama_ftype`: what most tensors are stored as. */
const FILE_TYPES: Readonly<Record<SaveDtype, number>> = { F32: 0, F16: 1, BF16: 32 };

/** How a model is written. */
export interface GgufOptions {
  /** Of matrices: "F32" by default. Vectors, and tables of positions, are always f32: llama.cpp wants them so. */
  readonly dtype?: SaveDtype;
  /** `general.name`. */
  readonly name?: string;
}

/**
 * Writes `path`, by rename: weights, adapters merged into them, sizes, and the tokenizer.
 * @throws ConfigError for what llama.cpp cannot run; FormatError for a tokenizer that it has not, or weights beyond the range of f16
 */
export async function saveGguf(
  path: string,
  model: LanguageModel,
  tokenizer: Tokenizer,
  { dtype = "F32", name }: GgufOptions = {},
): Promise<void> {
  const { vocabSize, family } = model.config;
  const form = blueprint(model.toHf(), "lm", path).architecture.toGguf?.();
  if (!form) throw new ConfigError(`${path}: llama.cpp has no language models of the family "${family}"`);
  const sizes = Object.entries(form.metadata).map(([key, value]) => [`${form.architecture}.${key}`, value]);
  const metadata: GgufMetadata = {
    "general.architecture": form.architecture,
    ...(name !== undefined && { "general.name": name }),
    "general.file_type": u32(FILE_TYPES[dtype]),
    [`${form.architecture}.vocab_size`]: u32(vocabSize),
    ...(Object.fromEntries(sizes) as GgufMetadata),
    ...ggufTokenizer(tokenizer, vocabSize, path),
  };
  const tensors = model.specs.map((spec) => tensorOf(model, spec, form, dtype));
  await writeGguf(path, metadata, [...tensors, ...ropeFactors(form)]);
}

function tensorOf(
  model: LanguageModel,
  spec: ParameterSpec,
  form: GgufForm,
  dtype: SaveDtype,
): FloatsToWrite {
  const [, module = "", part = ""] = /^(.*)\.(weight|bias)$/.exec(spec.name) ?? [];
  const theirs = form.names[spec.layer === undefined ? module : module.replace(`.${spec.layer}.`, ".#.")];
  if (theirs === undefined) throw new ConfigError(`gguf: no name is known for ${spec.name}`);
  const { shape, layout, positions } = spec;
  const order = form.rowOrder?.(module);
  const turned = layout === "in_out";
  return {
    name: `${theirs.replace("#", String(spec.layer))}.${part}`,
    dtype: shape.length === 1 || positions ? "F32" : dtype,
    shape: turned ? shape.toReversed() : shape,
    data: () => {
      if (!turned && !order) return mergedPieces(model.parameters, spec);
      const values = mergedValues(model.parameters, spec);
      return values.then((all) => (turned ? transposed(all, shape[0]!) : rowsOf(all, order!)));
    },
  };
}

/** A matrix of `rows` rows, transposed. */
function transposed(values: Float32Array, rows: number): Float32Array {
  const columns = values.length / rows;
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]!;
  }
  return out;
}

/** The rows of a matrix, or the values of a vector, in another order. */
function rowsOf(values: Float32Array, order: readonly number[]): Float32Array {
  const width = values.length / order.length;
  const out = new Float32Array(values.length);
  for (const [to, from] of order.entries())
    out.set(values.subarray(from * width, (from + 1) * width), to * width);
  return out;
}

const ropeFactors = ({ ropeFactors: factors }: GgufForm): FloatsToWrite[] =>
  factors
    ? [{ name: "rope_freqs.weight", dtype: "F32", shape: [factors.length], data: Float32Array.from(factors) }]
    : [];
