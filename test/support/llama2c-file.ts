/** Files of llama2.c, written from tensors in Hugging Face's order. */

/** Sizes as a Llama `config.json` spells them. */
export interface Llama2cSizes {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly tie_word_embeddings: boolean;
}

const f32 = (values: Float32Array): Buffer =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

/** Queries and keys as llama2.c turns them: row 2i + s of a head from row s D/2 + i. */
function pairs(values: Float32Array, width: number, headDim: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < values.length / width; row++) {
    const at = row % headDim;
    const from = row - at + (at % 2) * (headDim / 2) + (at >> 1);
    out.set(values.subarray(from * width, (from + 1) * width), row * width);
  }
  return out;
}

/** The bytes of a model file, as export.py lays them out. */
export async function llama2cFile(
  version: 0 | 1,
  sizes: Llama2cSizes,
  read: (name: string) => Promise<Float32Array>,
): Promise<Buffer> {
  const { hidden_size: dim, num_attention_heads: heads, max_position_embeddings: context } = sizes;
  const headDim = dim / heads;
  const tied = sizes.tie_word_embeddings;
  const numbers = [dim, sizes.intermediate_size, sizes.num_hidden_layers, heads, sizes.num_key_value_heads];
  const header = Int32Array.from([...numbers, (version === 0 && !tied ? -1 : 1) * sizes.vocab_size, context]);
  const each = async (name: string): Promise<Buffer> => {
    const turned = /[qk]_proj/.test(name);
    const layers = Array.from({ length: sizes.num_hidden_layers }, async (_, i) => {
      const values = await read(`model.layers.${i}.${name}.weight`);
      return f32(turned ? pairs(values, dim, headDim) : values);
    });
    return Buffer.concat(await Promise.all(layers));
  };
  const attention = ["q", "k", "v", "o"].map((x) => each(`self_attn.${x}_proj`));
  const mlp = ["gate", "down", "up"].map((x) => each(`mlp.${x}_proj`));
  const norms = [each("input_layernorm"), each("post_attention_layernorm")] as const;
  const embedding = f32(await read("model.embed_tokens.weight"));
  const norm = f32(await read("model.norm.weight"));
  const head = tied ? [] : [f32(await read("lm_head.weight"))];
  const numbersRaw = Buffer.from(header.buffer);
  if (version === 0) {
    const tables = Buffer.alloc(4 * context * headDim, 7);
    return Buffer.concat([
      numbersRaw,
      embedding,
      await norms[0],
      ...(await Promise.all(attention)),
      await norms[1],
      ...(await Promise.all(mlp)),
      norm,
      tables,
      ...head,
    ]);
  }
  const start = Buffer.alloc(256);
  start.writeUInt32LE(0x616b3432, 0);
  start.writeInt32LE(1, 4);
  numbersRaw.copy(start, 8);
  start[36] = tied ? 1 : 0;
  return Buffer.concat([
    start,
    ...(await Promise.all(norms)),
    norm,
    embedding,
    ...(await Promise.all([...attention, ...mlp])),
    ...head,
  ]);
}

/** The bytes of a `tokenizer.bin`, from pieces as SentencePiece spells them; scores fall with the id, as it gives them. */
export function llama2cTokenizer(pieces: readonly string[]): Buffer {
  const texts = pieces.map((piece, id) =>
    id === 1 || id === 2 ? `\n${piece}\n` : piece.replaceAll("\u2581", " "),
  );
  const all = texts.map((text, id) => {
    const bytes = Buffer.from(text);
    const head = Buffer.alloc(8);
    head.writeFloatLE(id < 259 ? 0 : 259 - id, 0);
    head.writeUInt32LE(bytes.length, 4);
    return Buffer.concat([head, bytes]);
  });
  const longest = Buffer.alloc(4);
  longest.writeUInt32LE(Math.max(...texts.map((text) => Buffer.byteLength(text))), 0);
  return Buffer.concat([longest, ...all]);
}
