/**
 * A quicker way through byte-level BPE (GPT-2, Llama 3, Qwen2): texts are mostly words that were seen before, so each
 * pre-token's ids are kept. Splitting and merging are the library's; what it would answer is answered, to the id.
 */
import { SequencePreTokenizer, type Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import { isRecord } from "../json.ts";
import { byteAlphabet } from "./bpe.ts";

type Fields = Readonly<Record<string, unknown>>;

/** GPT-2's pre-tokens, as the library's ByteLevel has them. */
const GPT2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Words that are kept at most, and how long they may be: a few MB. */
const MAX_WORDS = 1 << 16;
const MAX_LENGTH = 64;

/** Ids of a text, with or without the special tokens around it. */
export type Encode = (text: string, addSpecialTokens: boolean) => number[];

/** The encoder of a tokenizer that is byte-level BPE and nothing beside; of others undefined. */
export function byteLevelEncoder(hf: HfTokenizer, json: Fields, config: Fields): Encode | undefined {
  const pieces = preTokens(json);
  const added = [...hf.get_added_tokens_decoder().values()];
  const plain =
    json["normalizer"] == null &&
    isRecord(json["model"]) &&
    json["model"]["type"] === "BPE" &&
    json["model"]["fuse_unk"] !== true &&
    config["remove_space"] !== true &&
    config["do_lowercase_and_remove_accent"] !== true;
  if (!plain || !pieces || hf.model === null || added.some((t) => t.lstrip || t.rstrip || t.content === ""))
    return undefined;
  const cut = splitter(added.map((t) => t.content));
  const wordIds = remembered((word) => idsOf(hf, [spelled(word)]));
  const ids = new Map(added.map((t) => [t.content, t.id]));
  const [before, after] = frame(hf);
  return (text, addSpecialTokens) => {
    const out = addSpecialTokens ? [...before] : [];
    for (const section of cut ? text.split(cut) : [text]) {
      const id = ids.get(section);
      if (id !== undefined) out.push(id);
      else if (section !== "")
        for (const word of pieces(section)) for (const one of wordIds(word)) out.push(one);
    }
    if (addSpecialTokens) out.push(...after);
    return out;
  };
}

/** How a section is cut before its bytes are spelled: undefined where that is more than cutting. */
function preTokens({ pre_tokenizer: given }: Fields): ((text: string) => readonly string[]) | undefined {
  if (!isRecord(given)) return undefined;
  if (isByteLevel(given)) return given["use_regex"] === false ? (text) => [text] : matches;
  const all: unknown = given["type"] === "Sequence" ? given["pretokenizers"] : undefined;
  if (!Array.isArray(all) || !all.every(isRecord)) return undefined;
  const [last, rest] = [all.at(-1), all.slice(0, -1)];
  const cuts = rest.every(({ type }) => type === "Split" || type === "Digits");
  if (!last || !isByteLevel(last) || last["use_regex"] !== false || !cuts || rest.length === 0)
    return undefined;
  const sequence = new SequencePreTokenizer({ type: "Sequence", pretokenizers: rest } as never);
  return (text) => sequence.pre_tokenize_text(text, {});
}

const isByteLevel = (given: Fields): boolean =>
  given["type"] === "ByteLevel" && given["add_prefix_space"] !== true;

const matches = (text: string): readonly string[] => text.match(GPT2) ?? [];

/** Cuts at added tokens and keeps them; the longest first, as the library's trie finds them. */
function splitter(tokens: readonly string[]): RegExp | undefined {
  if (tokens.length === 0) return undefined;
  const longest = tokens.toSorted((a, b) => b.length - a.length);
  return new RegExp(`(${longest.map((t) => t.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")).join("|")})`);
}

const utf8 = new TextEncoder();

function spelled(word: string): string {
  let text = "";
  for (const byte of utf8.encode(word)) text += byteAlphabet[byte];
  return text;
}

function idsOf(hf: HfTokenizer, words: string[]): number[] {
  const { model } = hf;
  return model!.encode(words).map((token) => hf.token_to_id(token) ?? (model!.unk_token_id as number));
}

function remembered(compute: (word: string) => number[]): (word: string) => readonly number[] {
  const known = new Map<string, readonly number[]>();
  return (word) => {
    const found = known.get(word);
    if (found) return found;
    const ids = compute(word);
    if (word.length > MAX_LENGTH) return ids;
    if (known.size >= MAX_WORDS) known.clear();
    known.set(word, ids);
    return ids;
  };
}

/** The ids that the tokenizer's post-processor puts before and after a text. */
function frame(hf: HfTokenizer): readonly [readonly number[], readonly number[]] {
  if (hf.post_processor === null) return [[], []];
  const marker = "\0text";
  const { tokens } = hf.post_processor.post_process([marker], null, true);
  const at = tokens.indexOf(marker);
  const ids = (some: readonly string[]): number[] =>
    some.map((token) => hf.token_to_id(token) ?? (hf.model!.unk_token_id as number));
  return [ids(tokens.slice(0, at)), ids(tokens.slice(at + 1))];
}
