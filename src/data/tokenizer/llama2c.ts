/**
 * Tokenizers of llama2.c (tokenizer.py): the longest token's length, then for each token its score, length and bytes. The scores
 * are SentencePiece's: of two neighbours those merge first whose piece scores higher. Hugging Face has the same as a list of
 * merges: every way to make a piece of two others, the best piece first.
 */
import { FormatError } from "../../errors.ts";
import type { FileReader } from "../reader.ts";

/** More bytes than any vocabulary takes, and more than any token. */
const MAX_BYTES = 1 << 26;
const MAX_TOKEN = 1 << 12;

/** `<unk>`, BOS and EOS: every tokenizer of llama2.c has them first. */
const SPECIAL = ["<unk>", "<s>", "</s>"] as const;

interface Piece {
  readonly text: string;
  readonly score: number;
}

/**
 * The `tokenizer.json` and `tokenizer_config.json` of a `tokenizer.bin`.
 * @throws FormatError when it is none, or cut off
 */
export async function readLlama2cTokenizer(
  file: FileReader,
): Promise<Record<"json" | "config", Readonly<Record<string, unknown>>>> {
  const pieces = await readPieces(file);
  const vocab = Object.fromEntries(pieces.map(({ text }, id) => [text, id]));
  return {
    json: tokenizerJson(vocab, mergesOf(pieces)),
    config: {
      // transformers 5 makes a LlamaTokenizer anew from the vocabulary, with other rules for spaces; this class takes the file.
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<s>",
      eos_token: "</s>",
      unk_token: "<unk>",
      add_bos_token: true,
      add_eos_token: false,
      clean_up_tokenization_spaces: false,
    },
  };
}

async function readPieces(file: FileReader): Promise<Piece[]> {
  const bad = (problem: string): FormatError =>
    new FormatError(`${file.path}: not a tokenizer.bin of llama2.c: ${problem}`);
  if (file.size < 4 || file.size > MAX_BYTES)
    throw bad(`it has ${file.size} bytes; expected from 4 to ${MAX_BYTES}`);
  const raw = new Uint8Array(file.size);
  await file.read(raw, 0);
  const view = new DataView(raw.buffer);
  const longest = view.getUint32(0, true);
  if (longest < 1 || longest > MAX_TOKEN)
    throw bad(`it says that its longest token has ${longest} bytes; expected from 1 to ${MAX_TOKEN}`);
  const pieces: Piece[] = [];
  for (let at = 4; at < raw.length;) {
    const id = pieces.length;
    if (at + 8 > raw.length) throw bad(`it is cut off in token ${id}`);
    const [score, length] = [view.getFloat32(at, true), view.getUint32(at + 4, true)];
    if (length > longest || at + 8 + length > raw.length)
      throw bad(`token ${id} has ${length} bytes; expected at most ${longest}, inside the file`);
    if (Number.isNaN(score)) throw bad(`the score of token ${id} is no number`);
    pieces.push({ text: spelled(id, raw.subarray(at + 8, at + 8 + length), bad), score });
    at += 8 + length;
  }
  if (pieces.length <= SPECIAL.length) throw bad(`it has ${pieces.length} tokens`);
  const ids = new Map(pieces.map(({ text }, id) => [text, id]));
  const twice = pieces.find(({ text }, id) => ids.get(text) !== id);
  if (twice) throw bad(`token ${JSON.stringify(twice.text)} is there twice`);
  return pieces;
}

/** As SentencePiece spells it: the exporter had put spaces for its word marks, and lines around BOS and EOS. */
function spelled(id: number, bytes: Uint8Array, bad: (problem: string) => FormatError): string {
  const special = SPECIAL[id];
  if (special !== undefined) return special;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes).replaceAll(" ", "\u2581");
  } catch {
    throw bad(`token ${id} is not UTF-8`);
  }
}

function mergesOf(pieces: readonly Piece[]): string[] {
  const ids = new Map(pieces.map(({ text }, id) => [text, id]));
  const made = pieces.flatMap(({ text, score }, id) => {
    const ways: { left: number; right: number; text: string }[] = [];
    for (let cut = 1; cut < text.length; cut++) {
      const [a, b] = [text.slice(0, cut), text.slice(cut)];
      const [left, right] = [ids.get(a), ids.get(b)];
      if (left !== undefined && right !== undefined) ways.push({ left, right, text: `${a} ${b}` });
    }
    return ways
      .toSorted((a, b) => a.left - b.left || a.right - b.right)
      .map((way) => ({ merge: way.text, score, id }));
  });
  return made.toSorted((a, b) => b.score - a.score || a.id - b.id).map(({ merge }) => merge);
}

/** As transformers converts a Llama tokenizer. */
function tokenizerJson(
  vocab: Readonly<Record<string, number>>,
  merges: readonly string[],
): Readonly<Record<string, unknown>> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const text = (id: "A" | "B", type: number): object => ({ Sequence: { id, type_id: type } });
  const bos = (type: number): object => ({ SpecialToken: { id: "<s>", type_id: type } });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({ id, content, ...flags })),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "\u2581" },
        { type: "Replace", pattern: { String: " " }, content: "\u2581" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [bos(0), text("A", 0)],
      pair: [bos(0), text("A", 0), bos(1), text("B", 1)],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "\u2581" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<unk>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges: merges.map((merge) => merge.split(" ")),
    },
  };
}
