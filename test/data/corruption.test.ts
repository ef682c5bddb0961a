/**
 * Tables and tokenizer files with bytes changed, cut off or values put in other places: each read ends soon, in a right answer or in an
 * error for the user. (Safetensors, torch's files and llama2.c's have such tests beside their own.)
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, it } from "vitest";
import { readExamples } from "../../src/data/datasets/dataset.ts";
import { readTable } from "../../src/data/datasets/table.ts";
import { trainBpe } from "../../src/data/tokenizer/bpe.ts";
import { conversing } from "../../src/data/tokenizer/chat.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { UserError } from "../../src/errors.ts";
import { CHATML, LLAMA3 } from "../support/chat-templates.ts";
import { llama2cTokenizer } from "../support/llama2c-file.ts";
import { collect, temporaryFolder } from "./support.ts";
import { saveBpeTokenizer } from "../support/bpe.ts";

const folder = temporaryFolder();

/** `good` with up to six bytes changed, and perhaps cut. */
const corrupted = (good: Uint8Array): fc.Arbitrary<Buffer> => {
  const place = fc.nat(good.length - 1);
  const edits = fc.array(fc.tuple(place, fc.nat(255)), { maxLength: 6 });
  return fc.tuple(edits, fc.option(place)).map(([changes, cut]) => {
    const bytes = Buffer.from(good);
    for (const [at, value] of changes) bytes[at] = value;
    return bytes.subarray(0, cut ?? bytes.length);
  });
};

/** Runs `read`; it gives an answer or an error for the user, within a time and with memory that small files explain. */
async function survives(read: () => Promise<unknown>): Promise<void> {
  const [start, before] = [performance.now(), process.memoryUsage().rss];
  try {
    await read();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(error.message.length).toBeLessThan(1000);
  }
  expect(performance.now() - start).toBeLessThan(20_000);
  expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 28);
}

describe("tables", () => {
  const columnData = [
    { name: "prompt", data: ["the cat", 'a "dog"', "", "é 😀"] },
    { name: "response", data: ["sat", "ran, far", "x\ny", "z"] },
    { name: "n", data: [1n, 2n, 3n, 4n] },
  ];
  const csv = 'prompt,response,n\nthe cat,sat,1\n"a ""dog""","ran, far",2\n,"x\ny",3\né 😀,z,4\n';
  it.each<[string, Uint8Array]>([
    ["csv", Buffer.from(csv)],
    ["csv.gz", gzipSync(csv)],
    ["tsv", Buffer.from(csv.replaceAll(",", "\t"))],
    ["parquet", new Uint8Array(parquetWriteBuffer({ columnData, codec: "SNAPPY", rowGroupSize: 2 }))],
    ["Parquet", new Uint8Array(parquetWriteBuffer({ columnData, codec: "UNCOMPRESSED" }))],
  ])("%s", async (ending, good) => {
    const path = join(folder, `table.${ending}`);
    writeFileSync(path, good);
    expect((await collect(readTable(path))).length).toBe(4);
    const property = fc.asyncProperty(corrupted(good), async (bytes) => {
      writeFileSync(path, bytes);
      await survives(() => collect(readTable(path)));
      await survives(() => collect(readExamples(path)));
    });
    await fc.assert(property, { numRuns: 80 });
  });
});

describe("tokenizer files", () => {
  const bpe = trainBpe(["the cat sat on the mat, the cat"], { vocabSize: 270 });
  const [text, messages] = ["the cat\n\n 42 é", [{ role: "user", content: "the cat" }]];

  /** Loads what is in `path` and uses all of it. */
  const use = async (path: string): Promise<void> => {
    const tokenizer = await loadTokenizer(path);
    expect(tokenizer.vocabSize).toBeLessThan(2 ** 27);
    tokenizer.decode(tokenizer.encode(text));
    tokenizer.decode([0, 5, 300], { skipSpecialTokens: true });
    conversing(tokenizer, {}).open().prompt(messages, "here");
  };

  it.each<[string, string, string]>([
    ["bytes", "tokenizer.json", "bytes"],
    ["bytes", "tokenizer_config.json", "config"],
  ])("with %s of %s changed", async (_, file, name) => {
    const path = join(folder, name);
    await saveBpeTokenizer(path, bpe);
    const config = JSON.parse(readFileSync(join(path, "tokenizer_config.json"), "utf8")) as object;
    writeFileSync(join(path, "tokenizer_config.json"), JSON.stringify({ ...config, chat_template: CHATML }));
    await use(path);
    const good = readFileSync(join(path, file));
    const property = fc.asyncProperty(corrupted(good), async (bytes) => {
      writeFileSync(join(path, file), bytes);
      await survives(() => use(path));
    });
    await fc.assert(property, { numRuns: 80 });
  });

  it("with values of tokenizer.json in other places", async () => {
    const path = join(folder, "values");
    await saveBpeTokenizer(path, bpe);
    const good = readFileSync(join(path, "tokenizer.json"), "utf8");
    const odd = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom(1e300, -1, 2 ** 40, null, [], {}, { type: "Sequence" }, { type: "ByteLevel" }),
    );
    const key = fc.constantFrom(
      "model",
      "vocab",
      "merges",
      "added_tokens",
      "pre_tokenizer",
      "decoder",
      "normalizer",
      "post_processor",
      "type",
      "content",
      "id",
      "unk_token",
      "add_prefix_space",
    );
    await fc.assert(
      fc.asyncProperty(key, odd, async (where, value) => {
        const changed: unknown = JSON.parse(good, (name, kept: unknown) => (name === where ? value : kept));
        writeFileSync(join(path, "tokenizer.json"), JSON.stringify(changed));
        await survives(() => use(path));
      }),
      { numRuns: 120 },
    );
  });

  it("of older folders: vocab.json and merges.txt, vocab.txt, tokenizer.bin", async () => {
    const vocab = JSON.stringify(Object.fromEntries(bpe.tokens.map((token, id) => [token, id])));
    const merges = bpe.merges.map(([a, b]) => `${a} ${b}\n`).join("");
    const older: readonly Readonly<Record<string, string>>[] = [
      { "vocab.json": vocab, "merges.txt": merges, "added_tokens.json": '{"<pad>":270}' },
      { "vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##s\n" },
    ];
    for (const [i, files] of older.entries()) {
      const path = join(folder, `older-${i}`);
      mkdirSync(path);
      const write = (contents: Readonly<Record<string, string | Uint8Array>>): void =>
        Object.entries(contents).forEach(([name, content]) => writeFileSync(join(path, name), content));
      for (const [name, content] of Object.entries(files)) {
        const property = fc.asyncProperty(corrupted(Buffer.from(content)), async (bytes) => {
          write({ ...files, [name]: bytes });
          await survives(() => use(path));
        });
        await fc.assert(property, { numRuns: 40 });
      }
    }
    const bin = llama2cTokenizer(["<unk>", "<s>", "</s>", "\u2581", "a", "c", "t", "ca"]);
    const file = join(folder, "tokenizer.bin");
    await fc.assert(
      fc.asyncProperty(corrupted(bin), async (bytes) => {
        writeFileSync(file, bytes);
        await survives(() => use(file));
      }),
      { numRuns: 40 },
    );
  });

  it("with a chat template that is cut or changed", async () => {
    const path = join(folder, "template");
    await saveBpeTokenizer(path, bpe);
    for (const template of [CHATML, LLAMA3]) {
      const property = fc.asyncProperty(corrupted(Buffer.from(template)), async (bytes) => {
        writeFileSync(join(path, "chat_template.jinja"), bytes);
        await survives(() => use(path));
      });
      await fc.assert(property, { numRuns: 60 });
    }
  });
});
