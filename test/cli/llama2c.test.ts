/** `--model file.bin`: a model of llama2.c says to the last bit what its safetensors say, with its tokenizer beside it or named. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { testDevice } from "../support/device.ts";
import { llama2cFile, type Llama2cSizes, llama2cTokenizer } from "../support/llama2c-file.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";
import { tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-llama2c-"));
const model = join(folder, "model");
await tinyLm(device, model, 3);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

type Settings = Parameters<typeof flags>[0];
const run = (verb: string, settings: Settings): Promise<Outcome> => vbon(device, [verb, ...flags(settings)]);

/** The model of `from` as a file of llama2.c. */
async function converted(from: string, to: string, version: 0 | 1): Promise<string> {
  const { read } = await openSafetensors(from);
  const config = JSON.parse(readFileSync(join(from, "config.json"), "utf8")) as Llama2cSizes;
  mkdirSync(to, { recursive: true });
  writeFileSync(join(to, "model.bin"), await llama2cFile(version, config, read));
  return join(to, "model.bin");
}

const input = join(folder, "texts.jsonl");
writeFileSync(input, '{"text":"the cat sat on a mat"}\n{"prompt":"the dog","response":" ran to a tree"}\n');

describe("a file", () => {
  it.each([0, 1] as const)(
    "of version %i gives the log-probabilities of its folder, bit for bit",
    async (version) => {
      const file = await converted(model, join(folder, `v${version}`), version);
      const expected = await run("score", { model, input, json: true });
      expect(expected.code).toBe(0);
      const got = await run("score", { model: file, tokenizer: model, input, json: true });
      expect(got.stdout).toBe(expected.stdout);
    },
  );

  it("wants a tokenizer, and that it fits", async () => {
    const file = await converted(model, join(folder, "alone"), 1);
    expect(await run("generate", { model: file })).toMatchObject({
      code: 2,
      stderr: `${file}: expected its tokenizer.bin (or tokenizer.json) beside it, there is none; name it with --tokenizer\n`,
    });
    const pieces = ["<unk>", "<s>", "</s>", ...Array.from({ length: 400 }, (_, i) => `x${i}`)];
    writeFileSync(join(folder, "alone", "tokenizer.bin"), llama2cTokenizer(pieces));
    const { code, stderr } = await run("generate", { model: file });
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining("the tokenizer has 403 tokens, the model 290"),
    ]);
  });

  it("of another kind is one message", async () => {
    const wrong = join(model, "model.safetensors");
    const { code, stderr } = await run("generate", { model: wrong, tokenizer: model });
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/it is a safetensors file; give the folder .*\n$/),
    ]);
  });
});

const stories = new URL("../../../shared/data/stories260K", import.meta.url).pathname;

describe.skipIf(!existsSync(stories))("stories260K as a file", () => {
  it("writes its published continuation, with its tokenizer.bin beside it", async () => {
    const json = JSON.parse(readFileSync(join(stories, "tokenizer.json"), "utf8")) as {
      model: { vocab: Record<string, number> };
    };
    const { vocab } = json.model;
    const file = await converted(stories, join(folder, "stories"), 0);
    const pieces = Object.keys(vocab).toSorted((a, b) => vocab[a]! - vocab[b]!);
    writeFileSync(join(folder, "stories", "tokenizer.bin"), llama2cTokenizer(pieces));
    const expected = JSON.parse(readFileSync(join(stories, "expected_greedy.json"), "utf8")) as {
      text: string;
    };
    const { stdout } = await run("generate", { model: file, greedy: true, maxNewTokens: 60 });
    expect(stdout.length).toBeGreaterThan(100);
    expect(expected.text.startsWith(stdout.trimEnd())).toBe(true);
  });
});
