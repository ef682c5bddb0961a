/**
 * Byte-level BPE: learn merges from text, and write them as a `tokenizer.json`.
 * Sennrich, Haddow & Birch 2016 (arXiv 1508.07909, algorithm 1) over the bytes of GPT-2's pre-tokens (Radford et al.
 * 2019): merge the most frequent adjacent pair, again and again; of equally frequent pairs the lexicographically greater.
 */
import { ConfigError } from "../../errors.ts";
import { learnMerges } from "./bpe-merges.ts";

/** GPT-2's pre-tokens: contractions, words, numbers, punctuation, spaces. The same as ByteLevel in Hugging Face's. */
const preToken = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** What training gives. Ids: the 256 bytes in GPT-2's order, then the merges, then the special tokens. */
export interface TrainedBpe {
  /** Token of each id, in the byte-to-unicode alphabet (see {@link byteAlphabet}); special tokens as they are. */
  readonly tokens: readonly string[];
  /** Pairs of tokens, the first learnt first. */
  readonly merges: readonly (readonly [string, string])[];
  readonly specialTokens: readonly string[];
}

/** How large, and what never to split. */
export interface BpeSettings {
  /** Tokens in all: 256 bytes, merges, special tokens. Fewer come out where the text has no more pairs. */
  readonly vocabSize: number;
  /** Default `["<|endoftext|>"]`. Nothing is merged across them. */
  readonly specialTokens?: readonly string[];
  /** A pair seen less often is not merged. Default 2: a pair seen once saves nothing elsewhere. */
  readonly minFrequency?: number;
}

/**
 * GPT-2's reversible map from bytes to printable characters: index is the byte, value the character. Printable Latin-1
 * stands for itself, the 68 other bytes take U+0100 and up.
 */
export const byteAlphabet: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(isPrintable(byte) ? byte : 256 + countUnprintable(byte)),
);

/**
 * Learns a vocabulary from `texts`, each of which may hold special tokens. Deterministic.
 * Throws ConfigError when `vocabSize` has no room for the bytes and the special tokens.
 */
export function trainBpe(texts: Iterable<string>, settings: BpeSettings): TrainedBpe {
  const specialTokens = [...new Set(settings.specialTokens ?? ["<|endoftext|>"])];
  const { vocabSize, minFrequency = 2 } = settings;
  const least = 256 + specialTokens.length;
  if (!Number.isInteger(vocabSize) || vocabSize < least || specialTokens.includes("")) {
    throw new ConfigError(
      `bpe: expected a vocabSize of at least ${least} (256 bytes and the special tokens, none empty), got ${vocabSize}`,
    );
  }
  const words = countPreTokens(texts, specialTokens);
  const learnt = learnMerges(words, vocabSize - least, minFrequency);
  const spelled = learnt.tokens.map(spell);
  const merges = learnt.merges.map(([a, b]) => [spelled[a] ?? "", spelled[b] ?? ""] as const);
  // learnMerges counts bytes from 0 to 255; GPT-2 puts the printable ones first.
  const bytes = [...byteAlphabet.keys()].sort(
    (a, b) => Number(isPrintable(b)) - Number(isPrintable(a)) || a - b,
  );
  const tokens = [...bytes.map((b) => byteAlphabet[b] ?? ""), ...spelled.slice(256), ...specialTokens];
  const twice = specialTokens.find((token) => tokens.indexOf(token) < tokens.length - specialTokens.length);
  if (twice !== undefined) {
    throw new ConfigError(`bpe: the special token ${twice} is spelled like a learnt one; choose another`);
  }
  return { tokens, merges, specialTokens };
}

/** How often each pre-token occurs, keyed by its UTF-8 bytes as a Latin-1 string, special tokens taken out. */
export function countPreTokens(
  texts: Iterable<string>,
  specialTokens: readonly string[],
): Map<string, number> {
  const counts = new Map<string, number>();
  const cut = specialTokens.length > 0 ? splitter(specialTokens) : undefined;
  for (const text of texts) {
    for (const section of cut === undefined ? [text] : text.split(cut)) {
      for (const [word] of section.matchAll(preToken)) counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  }
  const encoder = new TextEncoder();
  const byBytes = new Map<string, number>();
  for (const [word, count] of counts) {
    const bytes = Array.from(encoder.encode(word), (byte) => String.fromCharCode(byte)).join("");
    // Two words meet here only where both hold unpaired surrogates, which encode as U+FFFD.
    byBytes.set(bytes, (byBytes.get(bytes) ?? 0) + count);
  }
  return byBytes;
}

/** A trained vocabulary in the layout of Hugging Face's `tokenizer.json`, for `tokenizers` in Python and JavaScript. */
export function toTokenizerJson(bpe: TrainedBpe): Record<string, unknown> {
  const ids = new Map(bpe.tokens.map((token, id) => [token, id]));
  return byteLevelJson(
    Object.fromEntries(ids),
    bpe.merges.map(([a, b]) => `${a} ${b}`),
    bpe.specialTokens.map((content) => ({ content, id: ids.get(content) ?? 0 })),
  );
}

/** The `tokenizer.json` of any byte-level BPE: also that of an older folder with only vocab.json and merges.txt. */
export function byteLevelJson(
  vocab: Readonly<Record<string, number>>,
  merges: readonly string[],
  special: readonly { content: string; id: number }[],
): Record<string, unknown> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const byteLevel = {
    type: "ByteLevel",
    add_prefix_space: false,
    trim_offsets: true,
    use_regex: true,
  };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map(({ id, content }) => ({ id, content, ...flags, special: true })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
}

/** Which special token plays which part; each must be one of the trained ones. */
export interface SpecialRoles {
  /** Default: the first special token, if any. */
  readonly bosToken?: string;
  readonly eosToken?: string;
  /** Default: none. */
  readonly padToken?: string;
}

/**
 * The texts of `tokenizer.json` and `tokenizer_config.json` by name.
 * @throws ConfigError when a role names a token that is not special
 */
export function bpeTexts(bpe: TrainedBpe, roles: SpecialRoles = {}): Record<string, string> {
  const first = bpe.specialTokens[0];
  const named = {
    bos_token: roles.bosToken ?? first,
    eos_token: roles.eosToken ?? first,
    pad_token: roles.padToken,
  };
  for (const [role, token] of Object.entries(named)) {
    if (token !== undefined && !bpe.specialTokens.includes(token)) {
      const known = bpe.specialTokens.join(", ");
      throw new ConfigError(`bpe: ${role} is ${token}, expected one of the special tokens ${known}`);
    }
  }
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
    ...named,
  };
  return {
    "tokenizer.json": JSON.stringify(toTokenizerJson(bpe)),
    "tokenizer_config.json": `${JSON.stringify(config, null, 2)}\n`,
  };
}

function splitter(specialTokens: readonly string[]): RegExp {
  // The longest first: where one special token begins another, the longer one is meant.
  const longestFirst = specialTokens.toSorted((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map((t) => t.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "u");
}

function spell(bytes: string): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += byteAlphabet[bytes.charCodeAt(i)];
  return text;
}

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
}

function countUnprintable(below: number): number {
  let count = 0;
  for (let byte = 0; byte < below; byte++) if (!isPrintable(byte)) count += 1;
  return count;
}
