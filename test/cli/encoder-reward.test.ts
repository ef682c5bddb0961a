/** An encoder as a reward: `--reward FOLDER` scores with it, `vbon reward --model FOLDER` trains it on. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadScalarModel, saveModel } from "../../models/load.ts";
import { createScalarModel } from "../../models/model.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { classifierRun } from "../support/classifiers.ts";
import { testDevice } from "../support/device.ts";
import { vbon } from "../support/run-cli.ts";
import { tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-encoder-"));
const at = (name: string): string => join(folder, name);
const fixture = new URL("../fixtures/models/distilbert-classifier-tiny", import.meta.url).pathname;
const WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat dog ran sat on a mat ##s good bad . ,".split(" ");

afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

beforeAll(async () => {
  await tinyLm(device, at("lm"));
  cpSync(fixture, at("bert"), { recursive: true });
  writeFileSync(join(at("bert"), "vocab.txt"), WORDS.join("\n"));
});

const texts = ["The cats sat on a mat.", "a bad dog", "the dog ran, the cat sat. ".repeat(12)];

async function score(reward: string): ReturnType<typeof vbon> {
  writeFileSync(
    at("texts.jsonl"),
    texts.map((text) => JSON.stringify({ text: text.slice(0, 100) })).join("\n"),
  );
  rmSync(at("out.jsonl"), { force: true });
  const files = ["--input", at("texts.jsonl"), "--output", at("out.jsonl")];
  return vbon(device, ["score", "--model", at("lm"), "--truncate", "--reward", reward, ...files]);
}

describe("an encoder's folder", () => {
  it("scores texts: the log-odds of the second label, from the first token", async () => {
    const { code, stderr } = await score(at("bert"));
    expect(code, stderr).toBe(0);
    const lines = readFileSync(at("out.jsonl"), "utf8").trim().split("\n");
    const scores = lines.map((line) => (JSON.parse(line) as { score: number }).score);
    const model = await loadScalarModel(device, at("bert"), { trainable: false });
    const tokenizer = await loadTokenizer(at("bert"));
    for (const [i, text] of texts.entries()) {
      const ids = tokenizer.encode(text.slice(0, 100));
      expect([ids[0], ids.at(-1)]).toEqual([2, 3]);
      const padded = {
        input_ids: [ids],
        attention_mask: [ids.map(() => 1)],
        position_ids: [ids.map((_, t) => t)],
      };
      const run = await classifierRun(model, { padded, labels: [0] });
      run.run();
      const [bad, good] = await run.logits();
      expect(scores[i]).toBeCloseTo(good! - bad!, 5);
    }
  });

  it("is refused where it has another number of labels, or predicts masked words", async () => {
    cpSync(at("bert"), at("other"), { recursive: true });
    const config = JSON.parse(readFileSync(join(fixture, "config.json"), "utf8")) as object;
    const save = (changes: object): Promise<void> =>
      saveModel(
        at("other"),
        createScalarModel(device, { ...config, ...changes }, { trainable: false, seed: 1 }),
      );
    await save({ id2label: { 0: "bad", 1: "so so", 2: "good" } });
    const three = await score(at("other"));
    expect([three.code, three.stderr]).toEqual([2, expect.stringContaining("the classifier has 3 labels")]);
    const masked = { ...config, architectures: ["DistilBertForMaskedLM"] };
    writeFileSync(join(at("other"), "config.json"), JSON.stringify(masked));
    const words = await score(at("other"));
    expect([words.code, words.stderr]).toEqual([2, expect.stringContaining("expected a reward model")]);
  });

  it("is trained further by `vbon reward`", { timeout: 120_000 }, async () => {
    const lines = (word: string): string =>
      Array.from({ length: 24 }, (_, i) => `the ${word} ${WORDS[5 + (i % 7)]}`).join("\n");
    writeFileSync(at("good.txt"), lines("good"));
    writeFileSync(at("bad.txt"), lines("bad"));
    const data = ["--positive", at("good.txt"), "--negative", at("bad.txt"), "--test-fraction", "0.2"];
    const run = ["--steps", "60", "--batch", "8", "--lr", "3e-3", "--out", at("run"), "--json"];
    const { code, stdout, stderr } = await vbon(device, ["reward", "--model", at("bert"), ...data, ...run]);
    expect(code, stderr).toBe(0);
    expect((JSON.parse(stdout) as { accuracy: number }).accuracy).toBe(1);
    expect((await score(join(at("run"), "model"))).code).toBe(0);
  });
});
