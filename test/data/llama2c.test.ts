/** Files of llama2.c: the tensors of the safetensors to the last bit, the same tokens, and every corruption refused. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readLlama2cTokenizer } from "../../src/data/tokenizer/llama2c.ts";
import { openFile } from "../../src/data/files.ts";
import { openLlama2c } from "../../src/data/weights/llama2c.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { FormatError } from "../../src/errors.ts";
import { llama2cFile, type Llama2cSizes, llama2cTokenizer } from "../support/llama2c-file.ts";
import { formatErrorOf, sharedData, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();
let files = 0;
function write(bytes: Uint8Array): string {
  const path = join(folder, `${files++}.bin`);
  writeFileSync(path, bytes);
  return path;
}

const TINY: Llama2cSizes = {
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 10,
  max_position_embeddings: 4,
  tie_word_embeddings: false,
};

/** Every tensor other values; queries and keys such that their rows can be told apart. */
function values(name: string): Float32Array {
  const { hidden_size: dim, intermediate_size: inner, vocab_size: vocab } = TINY;
  const counts: readonly [RegExp, number][] = [
    [/norm/, dim],
    [/embed|lm_head/, vocab * dim],
    [/[kv]_proj/, 4 * dim],
    [/[qo]_proj/, dim * dim],
    [/mlp/, inner * dim],
  ];
  const count = counts.find(([pattern]) => pattern.test(name))![1];
  const seed = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 997, 7);
  return Float32Array.from({ length: count }, (_, i) => seed + i / 64);
}
const read = (name: string): Promise<Float32Array> => Promise.resolve(values(name));

describe.each([0, 1] as const)("version %i", (version) => {
  it.each([true, false])("is read tensor by tensor, tied: %s", async (tied) => {
    const path = write(await llama2cFile(version, { ...TINY, tie_word_embeddings: tied }, read));
    const { config, checkpoint } = await openLlama2c(path);
    expect(config).toMatchObject({ ...TINY, tie_word_embeddings: tied, model_type: "llama" });
    const names = [...checkpoint.tensors.keys()];
    expect(names.length).toBe(2 * 9 + (tied ? 2 : 3));
    expect(checkpoint.tensors.get("model.layers.1.mlp.down_proj.weight")!.shape).toEqual([8, 6]);
    for (const name of names) expect([name, await checkpoint.read(name)]).toEqual([name, values(name)]);
  });

  it("throws nothing but FormatError with bytes changed or cut", async () => {
    const good = await llama2cFile(version, TINY, read);
    const place = fc.oneof(fc.nat(39), fc.nat(good.length - 1));
    const changes = fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 4 });
    const property = fc.asyncProperty(changes, fc.option(fc.nat(good.length)), async (edits, cut) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of edits) bytes[at] = value;
      try {
        const { checkpoint } = await openLlama2c(write(bytes.subarray(0, cut ?? bytes.length)));
        for (const [name, { count }] of checkpoint.tensors) {
          expect(count * 4).toBeLessThanOrEqual(bytes.length);
          await checkpoint.read(name);
        }
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
      }
    });
    await fc.assert(property, { numRuns: 150 });
  });
});

describe("refused by name", () => {
  const withNumbers = async (...edits: readonly (readonly [number, number])[]): Promise<string> => {
    const bytes = await llama2cFile(1, TINY, read);
    for (const [at, value] of edits) bytes.writeInt32LE(value, at);
    return formatErrorOf(openLlama2c(write(bytes)));
  };

  it("what is quantised, unknown, too large, or does not fit", async () => {
    expect(await withNumbers([4, 2])).toContain(
      "version 2 is quantised (Q8_0), which is not read; export it with --version 1",
    );
    expect(await withNumbers([4, 9])).toContain("version 9 is unknown; expected 0 or 1");
    expect(await withNumbers([8, 0x7fffffff])).toContain("dim 2147483647");
    expect(await withNumbers([16, -1])).toContain("n_layers -1");
    expect(await withNumbers([20, 3])).toContain("expected n_heads to divide dim into even parts");
    expect(await withNumbers([28, 100_000])).toMatch(/which take \d+ bytes; it has \d+/);
    expect(await formatErrorOf(openLlama2c(write(Buffer.alloc(0))))).toContain("it is empty or truncated");
  });

  it("files of other kinds", async () => {
    const fixture = (name: string): string => new URL(`../fixtures/${name}`, import.meta.url).pathname;
    expect(await formatErrorOf(openLlama2c(fixture("torch/zip.bin")))).toContain(
      "it is of torch.save; give the folder",
    );
    expect(await formatErrorOf(openLlama2c(fixture("models/gpt2-tiny/model.safetensors")))).toContain(
      "it is a safetensors file",
    );
    expect(await formatErrorOf(openLlama2c(write(Buffer.from("GGUF\u0003\0\0\0"))))).toContain("it is GGUF");
  });
});

const pieces = async (path: string): ReturnType<typeof readLlama2cTokenizer> =>
  readLlama2cTokenizer(await openFile(path));

describe("a tokenizer.bin", () => {
  const good = llama2cTokenizer(["<unk>", "<s>", "</s>", "a", "\u2581", "\u2581a"]);

  it("is refused where it is cut off, is something else, or says a thing twice", async () => {
    const message = (bytes: Uint8Array): Promise<string> => formatErrorOf(pieces(write(bytes)));
    expect(await message(good.subarray(0, good.length - 1))).toContain("token 5 has 2 bytes");
    expect(await message(good.subarray(0, good.length - 4))).toContain("it is cut off in token 5");
    expect(await message(Buffer.alloc(64, 255))).toContain("its longest token has 4294967295 bytes");
    expect(await message(llama2cTokenizer(["<unk>", "<s>", "</s>", "a", "a"]))).toContain(
      'token "a" is there twice',
    );
    expect(await message(Buffer.alloc(0))).toContain("it has 0 bytes");
  });

  it("throws nothing but FormatError with bytes changed or cut", async () => {
    const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    const property = fc.asyncProperty(changes, fc.option(fc.nat(good.length)), async (edits, cut) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of edits) bytes[at] = value;
      try {
        const tokenizer = await loadTokenizer(write(bytes.subarray(0, cut ?? bytes.length)));
        tokenizer.decode(tokenizer.encode("a aa b"));
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
      }
    });
    await fc.assert(property, { numRuns: 150 });
  });
});

const stories = sharedData("stories260K");

describe.skipIf(!stories)("stories260K", () => {
  const jsonOf = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(stories!, name), "utf8")) as Record<string, unknown>;

  it.each([0, 1] as const)("has the bits of its safetensors in version %i", async (version) => {
    const original = await openSafetensors(stories!);
    const config = jsonOf("config.json");
    const path = write(
      await llama2cFile(version, config as unknown as Llama2cSizes, (name) => original.read(name)),
    );
    const opened = await openLlama2c(path);
    for (const key of Object.keys(opened.config))
      expect([key, opened.config[key]]).toEqual([key, config[key]]);
    for (const name of original.tensors.keys())
      expect(await opened.checkpoint.read(name)).toEqual(await original.read(name));
  });

  it("has the tokenizer that transformers made of it", async () => {
    const json = jsonOf("tokenizer.json");
    const { vocab } = json["model"] as { vocab: Record<string, number> };
    const inOrder = Object.keys(vocab).toSorted((a, b) => vocab[a]! - vocab[b]!);
    const path = write(llama2cTokenizer(inOrder));
    expect((await pieces(path)).json).toEqual(json);
    const [ours, theirs] = [await loadTokenizer(path), await loadTokenizer(stories!)];
    const text = "Once upon a time, café 😀\n";
    expect(ours.encode(text)).toEqual(theirs.encode(text));
    expect([ours.bosId, ours.eosId]).toEqual([1, 2]);
  });
});
