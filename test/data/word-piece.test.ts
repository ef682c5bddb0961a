/** Tokenizers of encoders: WordPiece from `vocab.txt`, RoBERTa's frame around byte-level BPE. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { byteAlphabet } from "../../src/data/tokenizer/bpe.ts";
import { loadTokenizer, type Tokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { formatErrorOf, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();

/** The vocabulary of Hugging Face's own test (test_tokenization_bert.py), and its numbers. */
const VOCAB = "[UNK] [CLS] [SEP] [PAD] [MASK] want ##want ##ed wa un runn ##ing , low lowest".split(" ");

async function load(name: string, files: Readonly<Record<string, string>>): Promise<Tokenizer> {
  const path = join(folder, name);
  await mkdir(path, { recursive: true });
  for (const [file, text] of Object.entries(files)) await writeFile(join(path, file), text);
  return loadTokenizer(path);
}

describe("WordPiece from vocab.txt", () => {
  it("splits as BERT does, between [CLS] and [SEP]", async () => {
    const bert = await load("bert", { "vocab.txt": `${VOCAB.join("\n")}\n` });
    expect(bert.vocabSize).toBe(15);
    expect(bert.encode("UNwant\u00E9d,running", { addSpecialTokens: false })).toEqual([9, 6, 7, 12, 10, 11]);
    expect(bert.encode("UNwant\u00E9d,running")).toEqual([1, 9, 6, 7, 12, 10, 11, 2]);
    expect(bert.encode("lowest xyz")).toEqual([1, 14, 0, 2]);
    expect(bert.encode("")).toEqual([1, 2]);
    expect(bert.decode([1, 9, 6, 7, 2], { skipSpecialTokens: true })).toBe("unwanted");
  });

  it("keeps capitals where the config says so, and comes back from what it saves", async () => {
    const files = { "vocab.txt": VOCAB.join("\n"), "tokenizer_config.json": '{"do_lower_case": false}' };
    const cased = await load("cased", files);
    expect(cased.encode("Low low", { addSpecialTokens: false })).toEqual([0, 13]);
    await cased.save(join(folder, "again"));
    const again = await loadTokenizer(join(folder, "again"));
    expect(again.encode("Low low")).toEqual(cased.encode("Low low"));
  });

  it.each([
    ["", true],
    ['{"do_lower_case": false}', false],
  ])("saves its case in the config too: %j", async (config, lower) => {
    const files = { "vocab.txt": VOCAB.join("\n"), ...(config && { "tokenizer_config.json": config }) };
    const path = join(folder, `case ${lower}`);
    await (await load(`from ${lower}`, files)).save(path);
    const saved = JSON.parse(await readFile(join(path, "tokenizer_config.json"), "utf8"));
    expect(saved).toEqual({ do_lower_case: lower });
  });

  it("refuses a vocabulary without the special tokens", async () => {
    const error = await formatErrorOf(load("bare", { "vocab.txt": "a\nb\n[UNK]\n" }));
    expect(error).toContain("expected BERT's special tokens, [CLS], [SEP] missing");
  });
});

it("frames a text for RoBERTa", async () => {
  const tokens = ["<s>", "<pad>", "</s>", "<unk>", ...byteAlphabet, "<mask>"];
  const roberta = await load("roberta", {
    "vocab.json": JSON.stringify(Object.fromEntries(tokens.map((token, id) => [token, id]))),
    "merges.txt": "#version: 0.2\n",
    "config.json": '{"model_type": "roberta"}',
  });
  const ids = roberta.encode("ab");
  expect([ids[0], ids.length, ids.at(-1)]).toEqual([0, 4, 2]);
  expect(roberta.decode(ids, { skipSpecialTokens: true })).toBe("ab");
});
