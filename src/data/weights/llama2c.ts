/**
 * Models of llama2.c (github.com/karpathy/llama2.c, export.py): a header of seven numbers, then f32 weights in a row, kind by kind over
 * all layers. Version 0 begins with the numbers and keeps tables of rotary angles; version 1 has a magic number, 256 bytes of
 * header, and no tables. Version 2 is quantised and is refused. Sizes are held against the file before anything is allocated.
 */
import { FormatError } from "../../errors.ts";
import { locate } from "../folder.ts";
import type { FileReader } from "../reader.ts";
import { type Checkpoint, checkpointOf, readFloats } from "./safetensors.ts";
import type { TensorInfo } from "./safetensors-header.ts";

/** A model file: what Hugging Face's `config.json` would say, and its tensors by their names there. */
export interface Llama2cModel {
  readonly config: Readonly<Record<string, unknown>>;
  readonly checkpoint: Checkpoint;
}

/** A tensor; queries and keys turn neighbouring pairs here, halves in Hugging Face's order. */
interface Placed extends TensorInfo {
  /** Rows of a head, where they change places. */
  readonly headDim?: number;
}

interface Sizes {
  readonly dim: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly vocab: number;
  readonly context: number;
  readonly tied: boolean;
  /** First byte of the weights. */
  readonly start: number;
  readonly version: 0 | 1;
}

/** "ak42" */
const MAGIC = 0x616b3432;
const HEADER = { 0: 28, 1: 256 } as const;
/** More than any size of a model; products of three of them stay exact. */
const MAX_SIZE = 1 << 17;
const MAX_VOCAB = 1 << 22;

/**
 * Opens a `.bin` file of llama2.c.
 * @throws FormatError when it is none, is quantised, or its size is not what the header says
 */
export async function openLlama2c(path: string): Promise<Llama2cModel> {
  const { file } = await locate(path);
  if (file) return readLlama2c(file);
  throw new FormatError(`${path}: expected a .bin file of llama2.c, got a folder`);
}

/** The model in `file`. Throws FormatError as {@link openLlama2c}. */
export async function readLlama2c(file: FileReader): Promise<Llama2cModel> {
  const sizes = await readSizes(file);
  const tensors = sizes.version === 0 ? legacy(file, sizes) : current(file, sizes);
  return {
    config: configOf(sizes),
    checkpoint: checkpointOf(file.path, tensors, {}, readPlaced, ({ headDim }) => headDim === undefined),
  };
}

async function readSizes(file: FileReader): Promise<Sizes> {
  const raw = new Uint8Array(Math.min(HEADER[1], file.size));
  await file.read(raw, 0);
  refuseOthers(file.path, raw);
  if (file.size < HEADER[0]) throw bad(file, "it is empty or truncated");
  const view = new DataView(raw.buffer);
  const isNew = view.getUint32(0, true) === MAGIC;
  const version = isNew ? view.getInt32(4, true) : 0;
  if (version === 2)
    throw bad(file, "version 2 is quantised (Q8_0), which is not read; export it with --version 1");
  if (version !== 0 && version !== 1) throw bad(file, `version ${version} is unknown; expected 0 or 1`);
  if (isNew && file.size < HEADER[1]) throw bad(file, "its header is cut off");
  const [dim, inner, layers, heads, kvHeads, vocab, context] = Array.from({ length: 7 }, (_, i) =>
    view.getInt32((isNew ? 8 : 0) + 4 * i, true),
  ) as [number, number, number, number, number, number, number];
  // The older header says by the sign of the vocabulary whether the LM head is the embedding.
  const tied = isNew ? raw[36] === 1 : vocab > 0;
  const start = HEADER[version];
  const sizes = {
    dim,
    inner,
    layers,
    heads,
    kvHeads,
    vocab: Math.abs(vocab),
    context,
    tied,
    start,
    version,
  } as const;
  checkSizes(file, sizes);
  return sizes;
}

/** What else is called a model file, by its first bytes. */
function refuseOthers(path: string, raw: Uint8Array): void {
  const begins = (...bytes: number[]): boolean => bytes.every((byte, i) => raw[i] === byte);
  const remedy = begins(0x47, 0x47, 0x55, 0x46)
    ? "it is GGUF, which is not read; give the Hugging Face folder that it was made from"
    : begins(0x50, 0x4b, 3, 4) || begins(0x80, 2)
      ? "it is of torch.save; give the folder that it is in, with its config.json"
      : raw[8] === 0x7b
        ? "it is a safetensors file; give the folder that it is in, with its config.json"
        : undefined;
  if (remedy !== undefined)
    throw new FormatError(`${path}: expected a model's folder, or a .bin file of llama2.c; ${remedy}`);
}

function checkSizes(file: FileReader, sizes: Sizes): void {
  const { dim, inner, layers, heads, kvHeads, vocab, context } = sizes;
  const shown = `dim ${dim}, hidden_dim ${inner}, n_layers ${layers}, n_heads ${heads}, n_kv_heads ${kvHeads}, vocab_size ${vocab}, max_seq_len ${context}`;
  const good = [dim, inner, layers, heads, kvHeads].every((n) => n >= 1 && n <= MAX_SIZE);
  if (!good || vocab < 1 || vocab > MAX_VOCAB || context < 1 || context > MAX_VOCAB)
    throw bad(file, `its header says ${shown}; expected numbers from 1, of the size of a model's`);
  if (dim % heads !== 0 || (dim / heads) % 2 !== 0 || heads % kvHeads !== 0)
    throw bad(
      file,
      `its header says ${shown}; expected n_heads to divide dim into even parts, and n_kv_heads n_heads`,
    );
  const tensors = sizes.version === 0 ? legacy(file, sizes) : current(file, sizes);
  const end = tensors.reduce((last, { offset, bytes }) => Math.max(last, offset + bytes), sizes.start);
  // Nothing follows the last weights but, in version 0 with a tied head, the tables of angles.
  const expected = sizes.version === 0 && sizes.tied ? end + tableBytes(sizes) : end;
  if (file.size !== expected)
    throw bad(file, `its header says ${shown}, which take ${expected} bytes; it has ${file.size}`);
}

const tableBytes = ({ context, dim, heads }: Sizes): number => 4 * 2 * context * (dim / heads / 2);

/** Takes place after place: tensors of one shape for all layers, or one alone. */
function placer(file: FileReader, { layers, start }: Sizes) {
  const tensors: Placed[] = [];
  let offset = start;
  const one = (name: string, shape: readonly number[], headDim?: number): void => {
    const count = shape.reduce((product, size) => product * size, 1);
    const place = { name, dtype: "F32", shape, count, file, offset, bytes: 4 * count } as const;
    tensors.push(headDim === undefined ? place : { ...place, headDim });
    offset += 4 * count;
  };
  return {
    tensors,
    one,
    each(name: string, shape: readonly number[], headDim?: number): void {
      for (let layer = 0; layer < layers; layer++)
        one(`model.layers.${layer}.${name}.weight`, shape, headDim);
    },
    skip(bytes: number): void {
      offset += bytes;
    },
  };
}

function legacy(file: FileReader, sizes: Sizes): Placed[] {
  const place = placer(file, sizes);
  const kinds = matrices(sizes);
  const { dim, vocab } = sizes;
  place.one("model.embed_tokens.weight", [vocab, dim]);
  place.each("input_layernorm", [dim]);
  for (const kind of kinds.attention) place.each(...kind);
  place.each("post_attention_layernorm", [dim]);
  for (const kind of kinds.mlp) place.each(...kind);
  place.one("model.norm.weight", [dim]);
  place.skip(tableBytes(sizes));
  if (!sizes.tied) place.one("lm_head.weight", [vocab, dim]);
  return place.tensors;
}

function current(file: FileReader, sizes: Sizes): Placed[] {
  const place = placer(file, sizes);
  const kinds = matrices(sizes);
  const { dim, vocab } = sizes;
  place.each("input_layernorm", [dim]);
  place.each("post_attention_layernorm", [dim]);
  place.one("model.norm.weight", [dim]);
  place.one("model.embed_tokens.weight", [vocab, dim]);
  for (const kind of [...kinds.attention, ...kinds.mlp]) place.each(...kind);
  if (!sizes.tied) place.one("lm_head.weight", [vocab, dim]);
  return place.tensors;
}

type Matrix = readonly [name: string, shape: readonly number[], headDim?: number];

/** The matrices of a layer, in the order of both versions. */
function matrices({ dim, inner, heads, kvHeads }: Sizes): Record<"attention" | "mlp", readonly Matrix[]> {
  const headDim = dim / heads;
  return {
    attention: [
      ["self_attn.q_proj", [dim, dim], headDim],
      ["self_attn.k_proj", [kvHeads * headDim, dim], headDim],
      ["self_attn.v_proj", [kvHeads * headDim, dim]],
      ["self_attn.o_proj", [dim, dim]],
    ],
    mlp: [
      ["mlp.gate_proj", [inner, dim]], // w1
      ["mlp.down_proj", [dim, inner]], // w2
      ["mlp.up_proj", [inner, dim]], // w3
    ],
  };
}

/** Row 2i + s of a head is its row sD/2 + i in Hugging Face's order. */
async function readPlaced(info: Placed): Promise<Float32Array> {
  const values = await readFloats(info);
  const { headDim, shape } = info;
  if (headDim === undefined) return values;
  const [rows, width] = shape as [number, number];
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const at = row % headDim;
    const to = row - at + (at % 2) * (headDim / 2) + Math.floor(at / 2);
    turned.set(values.subarray(row * width, (row + 1) * width), to * width);
  }
  return turned;
}

/** What llama2.c takes for granted is spelled out. */
function configOf(sizes: Sizes): Readonly<Record<string, unknown>> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: sizes.dim,
    intermediate_size: sizes.inner,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    vocab_size: sizes.vocab,
    max_position_embeddings: sizes.context,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: "silu",
    tie_word_embeddings: sizes.tied,
    bos_token_id: 1,
    eos_token_id: 2,
  };
}

function bad({ path }: FileReader, problem: string): FormatError {
  return new FormatError(`${path}: not a model of llama2.c that is read: ${problem}`);
}
