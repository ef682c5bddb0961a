/** `vbon score`: a line out for each line in, and one clear message for whatever is wrong with them. */
import { cpSync, existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { saveModel } from "../../models/load.ts";
import { createModel } from "../../models/model.ts";
import { trainBpe } from "../../src/data/tokenizer/bpe.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { testDevice } from "../support/device.ts";
import { cli, type Outcome } from "../support/run-cli.ts";
import { jsonl, scratch } from "../support/training.ts";
import { saveBpeTokenizer } from "../support/bpe.ts";

const device = await testDevice();
afterAll(() => device.close());

const folder = scratch();
const gpt2 = { model_type: "gpt2", vocab_size: 300, n_positions: 24, n_layer: 1, n_head: 2, n_embd: 16 };

beforeAll(async () => {
  await saveBpeTokenizer(
    folder,
    trainBpe(["the cat and the dog and the cat and the sun"], { vocabSize: 280 }),
  );
  await saveModel(folder, createModel(device, gpt2, { trainable: false, seed: 1 }));
});

interface Scored {
  readonly ids: number[];
  readonly logprobs: number[];
  readonly nll: number;
  readonly score?: number;
}

const score = (...argv: string[]): Promise<Outcome> => cli(["score", "--model", folder, ...argv], { device });
const parse = (text: string): Scored[] => text.trim().split("\n").map((line) => JSON.parse(line) as Scored); // prettier-ignore

describe("score", () => {
  const lines = [
    { text: "the cat and the dog" },
    { prompt: "the", response: " sun" },
    { ids: [5, 6, 7, 8] },
    { text: "" },
    { ids: [9] },
  ];

  it("answers every line in order: ids, logprobs and nll", async () => {
    const { code, stdout: out, stderr: err } = await score("--input", jsonl(lines));
    expect(code, err).toBe(0);
    const scored = parse(out);
    const tokenizer = await loadTokenizer(folder);
    expect(scored.map((s) => s.ids)).toEqual([
      tokenizer.encode("the cat and the dog"),
      [...tokenizer.encode("the"), ...tokenizer.encode(" sun")],
      [5, 6, 7, 8],
      [],
      [9],
    ]);
    for (const { ids, logprobs, nll } of scored) {
      expect(logprobs).toHaveLength(Math.max(0, ids.length - 1));
      expect(nll).toBeCloseTo(-logprobs.reduce((sum, l) => sum + l, 0), 10);
      for (const l of logprobs) expect(Math.abs(l + Math.log(300))).toBeLessThan(0.5);
    }
    expect(err).toMatch(/5 lines, \d+ tokens: mean NLL 5\.\d+ nats a token/);
  });

  it("gives a text the same numbers whatever stands beside it", async () => {
    const [alone] = parse((await score("--input", jsonl([lines[0]]))).stdout);
    const many = jsonl([
      ...Array.from({ length: 40 }, (_, i) => ({ ids: Array.from({ length: 2 + (i % 20) }, (__, t) => t) })),
      lines[0],
    ]);
    const beside = parse((await score("--input", many)).stdout).at(-1)!;
    alone!.logprobs.forEach((l, t) => expect(Math.abs(l - beside.logprobs[t]!)).toBeLessThan(1e-5));
  });

  it("writes the output file by rename, and scores of a reward", async () => {
    const output = join(scratch(), "out.jsonl");
    const { code, stdout: out } = await score(
      "--input",
      jsonl([{ text: "a good day" }, { text: "a bad day" }]),
      "--output",
      output,
      "--reward",
      "lexicon:vader",
    );
    expect([code, out]).toEqual([0, ""]);
    const [good, bad] = parse(readFileSync(output, "utf8"));
    expect(good!.score).toBeGreaterThan(0);
    expect(bad!.score).toBeLessThan(0);
    expect(existsSync(`${output}.partial`)).toBe(false);
  });

  it("needs no tokenizer for ids", async () => {
    const bare = scratch();
    for (const name of ["config.json", "model.safetensors"]) cpSync(join(folder, name), join(bare, name));
    expect(
      await cli(["score", "--model", bare, "--input", jsonl([{ ids: [1, 2] }])], { device }),
    ).toMatchObject({ code: 0 });
    const { code, stderr: err } = await cli(["score", "--model", bare, "--input", jsonl([{ text: "x" }])], {
      device,
    });
    expect([code, err]).toEqual([2, expect.stringContaining("expected tokenizer.json")]);
  });

  it("cuts long texts when told to", async () => {
    const input = jsonl([{ ids: Array.from({ length: 30 }, (_, i) => i) }]);
    const [line] = parse((await score("--input", input, "--truncate")).stdout);
    expect(line!.ids).toHaveLength(24);
  });

  it("keeps what was computed before a reward failed", async () => {
    const [module, output] = [join(scratch(), "reward.mjs"), join(scratch(), "out.jsonl")];
    writeFileSync(
      module,
      "let calls = 0; export default (xs) => (calls++ > 0 ? xs.map(() => NaN) : xs.map(() => 1));\n",
    );
    const input = jsonl(Array.from({ length: 600 }, () => ({ ids: [1, 2, 3] })));
    const { code, stderr: err } = await score("--input", input, "--output", output, "--reward", module);
    expect(code).toBe(2);
    expect(err).toMatch(/reward .*: the score of .* is NaN; expected a finite number/);
    expect(parse(readFileSync(`${output}.partial`, "utf8"))).toHaveLength(512);
    expect(existsSync(output)).toBe(false);
  });
});

describe("bad input to score", () => {
  const good = JSON.stringify({ text: "the cat" });

  it.each([
    ["malformed JSON", [good, '{"text": "x'], /data\.jsonl:2: malformed JSON/],
    [
      "a line of another kind",
      [good, '{"words": "x"}'],
      /data\.jsonl:2: expected \{"text"\}, \{"prompt", "response"\}, \{"messages"\} or \{"ids"\}/,
    ],
    [
      "a text beyond the context",
      [good, JSON.stringify({ ids: Array.from({ length: 25 }, () => 1) })],
      /data\.jsonl:2: has 25 tokens; expected at most 24/,
    ],
    [
      "an id beyond the vocabulary",
      ['{"ids": [1, 300]}'],
      /token id 300 is not in the model's vocabulary of 300/,
    ],
  ])("%s", async (_, lines, message) => {
    const { code, stdout: out, stderr: err } = await score("--input", jsonl(lines));
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toMatch(message);
  });

  it("a missing input, model or reward", async () => {
    expect(await score("--input", "/no/such.jsonl")).toMatchObject({
      code: 2,
      stderr: "/no/such.jsonl: no such file; check the path\n",
    });
    const input = jsonl([good]);
    expect((await cli(["score", "--model", "/no/model", "--input", input], { device })).stderr).toContain(
      "/no/model: expected a model folder",
    );
    expect((await score("--input", input, "--reward", "/no/reward")).stderr).toContain(
      "--reward /no/reward: no such folder or file",
    );
  });

  it("truncated and corrupt weights, and a tokenizer of another size", async () => {
    const input = jsonl([good]);
    const broken = async (change: (path: string) => void): Promise<Outcome> => {
      const copy = scratch();
      cpSync(folder, copy, { recursive: true });
      change(copy);
      return cli(["score", "--model", copy, "--input", input], { device });
    };
    const truncated = await broken((path) => truncateSync(join(path, "model.safetensors"), 5000));
    expect([truncated.code, truncated.stderr]).toEqual([2, expect.stringMatching(/model\.safetensors: /)]);
    const corrupt = await broken((path) =>
      writeFileSync(join(path, "model.safetensors"), "not a checkpoint at all"),
    );
    expect([corrupt.code, corrupt.stderr]).toEqual([2, expect.stringMatching(/model\.safetensors: /)]);
    const smaller = { ...gpt2, vocab_size: 200 };
    const other = scratch();
    cpSync(folder, other, { recursive: true });
    await saveModel(other, createModel(device, smaller, { trainable: false, seed: 1 }));
    const mixed = await cli(["score", "--model", other, "--input", input], { device });
    expect([mixed.code, mixed.stderr]).toEqual([
      2,
      expect.stringContaining("the model 200; expected a model at least as large"),
    ]);
  });
});

const data = new URL("../../../shared/data/", import.meta.url).pathname;
const there = existsSync(`${data}stories260K`) && existsSync(`${data}tinystories/train.txt`);
if (!there) console.log("score: the real model is skipped, ../shared/data is not here");

describe.skipIf(!there)("score of stories260K", () => {
  it("is 1.245 nats a token over the first 40 stories", async () => {
    const stories = readFileSync(`${data}tinystories/train.txt`, "utf8").split("<|endoftext|>").slice(0, 40);
    const input = jsonl(stories.map((text) => ({ text: text.trim() })));
    const { stdout: out, stderr: err } = await cli(
      ["score", "--model", `${data}stories260K`, "--input", input],
      { device },
    );
    const scored = parse(out);
    const tokens = scored.reduce((n, s) => n + s.logprobs.length, 0);
    const mean = scored.reduce((sum, s) => sum + s.nll, 0) / tokens;
    expect(Math.abs(mean - 1.245)).toBeLessThan(0.002);
    expect(err).toContain(`mean NLL ${mean.toFixed(4)} nats a token`);
  });
});
