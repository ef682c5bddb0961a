/** A tokenizer as llama.cpp has it: byte-level BPE by its merges ("gpt2"), SentencePiece's BPE by the scores of its pieces ("llama"). */
import { FormatError } from "../../errors.ts";
import { type GgufMetadata, type GgufValue, u32 } from "../weights/gguf-values.ts";
import { isRecord } from "../json.ts";
import type { Tokenizer } from "./tokenizer.ts";

type Fields = Readonly<Record<string, unknown>>;

/** `enum llama_token_type`. */
const KIND = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** What cuts words before merging: our reading of `tokenizer.json`, and llama.cpp's name of it. */
const PRE_TOKENIZERS: readonly (readonly [pattern: string, name: string])[] = [
  ["ByteLevel", "gpt-2"],
  ["Digits, ByteLevel", "smollm"],
  [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "llama-bpe",
  ],
  [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "qwen2",
  ],
];

/**
 * The metadata `tokenizer.*`.
 * @param rows of the model's embedding, which may be more than there are tokens
 * @param where for errors
 * @throws FormatError for a tokenizer that llama.cpp has not: no BPE, or words cut in another way
 */
export function ggufTokenizer(tokenizer: Tokenizer, rows: number, where: string): GgufMetadata {
  const { model } = tokenizer.json;
  if (!isRecord(model) || model["type"] !== "BPE")
    throw new FormatError(
      `${where}: expected a BPE tokenizer, got ${isRecord(model) ? String(model["type"]) : "none"}; llama.cpp reads no other from us`,
    );
  const merges = mergesOf(model);
  const isPieces = model["byte_fallback"] === true;
  const tokens = tokensOf(tokenizer, rows);
  return {
    ...(isPieces ? pieces(tokenizer, merges, tokens) : byteLevel(tokenizer, merges, where)),
    "tokenizer.ggml.tokens": { type: "string", values: tokens },
    "tokenizer.ggml.token_type": { type: "i32", values: kindsOf(tokenizer, rows, isPieces) },
    ...specials(tokenizer),
  };
}

/** Pairs, the first to merge first. */
function mergesOf({ merges }: Fields): (readonly [string, string])[] {
  return (Array.isArray(merges) ? (merges as unknown[]) : []).map((pair) => {
    if (Array.isArray(pair)) return [String(pair[0]), String(pair[1])];
    // A piece may hold spaces' stand-ins, never a space: it divides the two.
    const [a = "", b = ""] = String(pair).split(" ");
    return [a, b];
  });
}

function byteLevel(
  { json }: Tokenizer,
  merges: readonly (readonly [string, string])[],
  where: string,
): GgufMetadata {
  const pattern = patternOf(json["pre_tokenizer"]);
  const name = PRE_TOKENIZERS.find(([known]) => known === pattern)?.[1];
  if (name === undefined) {
    const known = PRE_TOKENIZERS.map(([, theirs]) => theirs).join(", ");
    throw new FormatError(
      `${where}: its tokenizer cuts words by ${pattern}, which llama.cpp has no name for that we know; expected the rules of ${known}`,
    );
  }
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": name,
    "tokenizer.ggml.merges": { type: "string", values: merges.map((pair) => pair.join(" ")) },
  };
}

/** What a `pre_tokenizer` does: the regular expression that it splits by, else the names of its steps. */
function patternOf(given: unknown): string {
  if (!isRecord(given)) return "nothing";
  const steps = given["type"] === "Sequence" ? given["pretokenizers"] : [given];
  const all = (Array.isArray(steps) ? (steps as unknown[]) : []).filter(isRecord);
  const split = all.length === 2 && all[0]!["type"] === "Split" ? all[0]!["pattern"] : undefined;
  const regex = isRecord(split) ? split["Regex"] : undefined;
  return typeof regex === "string" ? regex : all.map((step) => nameOf(step, all.length === 1)).join(", ");
}

function nameOf({ type, use_regex: regex, add_prefix_space: prefix }: Fields, alone: boolean): string {
  const how = [alone && regex === false ? " without its rule" : "", prefix === true ? " after a space" : ""];
  return `${String(type)}${how.join("")}`;
}

/** A piece's score is minus the rank of the first merge that makes it: the best pair of neighbours merges first. */
function pieces(
  tokenizer: Tokenizer,
  merges: readonly (readonly [string, string])[],
  tokens: readonly string[],
): GgufMetadata {
  const ranks = new Map<string, number>();
  for (const [rank, pair] of merges.entries()) {
    const piece = pair.join("");
    if (!ranks.has(piece)) ranks.set(piece, rank);
  }
  const scores = tokens.map((token) => -(ranks.get(token) ?? merges.length));
  const [first] = tokenizer.encode("x", { addSpecialTokens: false });
  return {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.scores": { type: "f32", values: scores },
    "tokenizer.ggml.add_space_prefix": tokenizer.tokenOf(first!)?.startsWith("▁") === true,
  };
}

/** By id; rows that no token has get a name of their own, as llama.cpp's converter does. */
const tokensOf = (tokenizer: Tokenizer, rows: number): string[] =>
  Array.from({ length: rows }, (_, id) => tokenizer.tokenOf(id) ?? `[PAD${id}]`);

function kindsOf(tokenizer: Tokenizer, rows: number, isPieces: boolean): number[] {
  const { json, specialIds, specialTokens } = tokenizer;
  const added = Array.isArray(json["added_tokens"]) ? (json["added_tokens"] as unknown[]) : [];
  const addedIds = new Set(added.map((token) => (isRecord(token) ? token["id"] : undefined)));
  return Array.from({ length: rows }, (_, id) => {
    const token = tokenizer.tokenOf(id);
    if (token === undefined) return KIND.unused;
    if (isPieces && token === specialTokens["unk_token"]) return KIND.unknown;
    if (specialIds.has(id)) return KIND.control;
    if (isPieces && /^<0x[0-9A-F]{2}>$/.test(token)) return KIND.byte;
    return addedIds.has(id) ? KIND.userDefined : KIND.normal;
  });
}

function specials(tokenizer: Tokenizer): GgufMetadata {
  const { bosId, eosId, padId, specialTokens, chatTemplates } = tokenizer;
  const around = tokenizer.encode("");
  const ids = {
    bos_token_id: bosId,
    eos_token_id: eosId,
    unknown_token_id: tokenizer.idOf(specialTokens["unk_token"] ?? ""),
    padding_token_id: padId,
  };
  const known = Object.entries(ids).flatMap(([key, id]): [string, GgufValue][] =>
    id === undefined ? [] : [[`tokenizer.ggml.${key}`, u32(id)]],
  );
  const template = chatTemplates.get("default");
  return {
    ...Object.fromEntries(known),
    "tokenizer.ggml.add_bos_token": bosId !== undefined && around[0] === bosId,
    "tokenizer.ggml.add_eos_token": eosId !== undefined && around.length > 1 && around.at(-1) === eosId,
    ...(template !== undefined && { "tokenizer.chat_template": template }),
  };
}
