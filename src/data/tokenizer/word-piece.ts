/** Tokenizers of older encoder folders, which have a vocabulary but no `tokenizer.json`. */
import { FormatError } from "../../errors.ts";

type Json = Record<string, unknown>;

const FLAGS = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

/** BERT's special tokens; the first two of them frame a text. */
const [CLS, SEP, UNK] = ["[CLS]", "[SEP]", "[UNK]"] as const;
const SPECIAL: readonly string[] = [CLS, SEP, UNK, "[PAD]", "[MASK]"];

/**
 * The `tokenizer.json` of BERT's WordPiece (Devlin et al. 2019) from its `vocab.txt`, a token a line.
 * @param config `tokenizer_config.json`: `do_lower_case` (default true), `strip_accents`, `tokenize_chinese_chars`
 * @throws FormatError when a special token is missing
 */
export function wordPieceJson(path: string, text: string, config: Readonly<Json>): Json {
  const tokens = text.replace(/\r?\n$/, "").split(/\r?\n/);
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const missing = [CLS, SEP, UNK].filter((token) => !Object.hasOwn(vocab, token));
  if (missing.length > 0)
    throw new FormatError(`${path}: expected BERT's special tokens, ${missing.join(", ")} missing`);
  const special = SPECIAL.filter((token) => Object.hasOwn(vocab, token));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((content) => ({ id: vocab[content], content, ...FLAGS })),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: config["tokenize_chinese_chars"] ?? true,
      strip_accents: config["strip_accents"] ?? null,
      lowercase: config["do_lower_case"] ?? true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", cls: [CLS, vocab[CLS]], sep: [SEP, vocab[SEP]] },
    decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    model: {
      type: "WordPiece",
      unk_token: UNK,
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab,
    },
  };
}

/** What RoBERTa does after byte-level BPE: `<s>` before a text, `</s>` after it. */
export function robertaProcessor(vocab: Readonly<Record<string, number>>): Json {
  return {
    type: "RobertaProcessing",
    cls: ["<s>", vocab["<s>"] ?? 0],
    sep: ["</s>", vocab["</s>"] ?? 2],
    trim_offsets: true,
    add_prefix_space: false,
  };
}

/** RoBERTa's special tokens. */
export const ROBERTA_SPECIAL: readonly string[] = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
