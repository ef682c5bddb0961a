/** `vbon sft` and `vbon reward` on small files: what they write, how they resume, what they refuse. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readRecords } from "../../src/train/metrics.ts";
import { testDevice } from "../support/device.ts";
import { cli, type Outcome } from "../support/run-cli.ts";
import { documents, jsonl, scratch, TINY } from "../support/training.ts";

const device = await testDevice();
afterAll(() => device.close());

const folder = (): string => join(scratch(), "run");
const weights = (out: string): string =>
  readFileSync(join(out, "model", "model.safetensors")).toString("base64");
const sft = (argv: readonly string[], signal?: AbortSignal): Promise<Outcome> =>
  cli(["sft", ...argv], { device, ...(signal && { signal }) });
const reward = (argv: readonly string[]): Promise<Outcome> => cli(["reward", ...argv], { device });

/** Settings of a record that follow from the data and the weights alone. */
const withoutTimes = async (out: string): Promise<object[]> =>
  (await readRecords(join(out, "metrics.jsonl"))).map((record) =>
    Object.fromEntries(Object.entries(record).filter(([name]) => name !== "tokensPerSecond")),
  );

describe("sft", () => {
  const data = documents(60);
  const flags = [
    "--data",
    data,
    ...TINY,
    "--steps",
    "12",
    "--warmup",
    "2",
    "--eval-fraction",
    "0.2",
    "--eval-every",
    "4",
    "--save-every",
    "4",
    "--sample-every",
    "6",
  ];

  it("trains from scratch: folder, falling loss, samples, a model that vbon can load", async () => {
    const out = folder();
    const {
      code,
      stdout: text,
      stderr: err,
    } = await sft([...flags, "--out", out, "--lr", "0.01", "--dtype", "f16", "--json"]);
    expect(code, err).toBe(0);
    expect(JSON.parse(text)).toMatchObject({ model: join(out, "model"), step: 12 });
    const records = await readRecords(join(out, "metrics.jsonl"));
    const losses = records.flatMap((r) => (typeof r["loss"] === "number" ? [r["loss"]] : []));
    expect(losses).toHaveLength(12);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.3);
    expect(records.filter((r) => "evalLoss" in r).map((r) => r.step)).toEqual([4, 8, 12]);
    expect((await readRecords(join(out, "samples.jsonl"))).map((r) => r.step)).toEqual([6, 6, 6, 12, 12, 12]);
    const scored = await cli(
      ["score", "--model", join(out, "model"), "--input", jsonl([{ text: "the cat" }])],
      { device },
    );
    expect(scored.code, scored.stderr).toBe(0);
    const again = await sft([...flags, "--out", out]);
    expect([again.code, again.stderr]).toEqual([
      2,
      expect.stringContaining("holds a run already; continue it with --resume"),
    ]);
  });

  it("evaluates on a file of its own, and then trains on all of the data", async () => {
    const evaluated = async (evalData: string): Promise<{ loss: number; weights: Buffer }> => {
      const out = folder();
      const { code, stdout, stderr } = await sft([
        ...flags,
        "--lr",
        "0.01",
        "--eval-data",
        evalData,
        "--out",
        out,
        "--json",
      ]);
      expect(code, stderr).toBe(0);
      const { evalLoss } = JSON.parse(stdout) as { evalLoss: number };
      return { loss: evalLoss, weights: readFileSync(join(out, "model/model.safetensors")) };
    };
    const own = await evaluated(data);
    const other = await evaluated(
      jsonl([{ text: "zebras quarrel loudly about vowels, xylophones and justice" }]),
    );
    expect(own.weights.equals(other.weights)).toBe(true);
    expect(other.loss).toBeGreaterThan(own.loss + 0.1);
    const missing = await sft([...flags, "--eval-data", "nowhere.txt", "--out", folder()]);
    expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining("nowhere.txt: no such file")]);
  });

  it.each(["f32", "mixed"])(
    "continues bit for bit after Ctrl-C: weights, metrics, samples (%s)",
    async (precision) => {
      const [whole, parts] = [folder(), folder()];
      const began = [...flags, "--precision", precision];
      expect((await sft([...began, "--out", whole])).code).toBe(0);
      for (const stopAt of [3, 7]) {
        const controller = new AbortController();
        const watch = setInterval(() => {
          const lines = existsSync(join(parts, "metrics.jsonl"))
            ? readFileSync(join(parts, "metrics.jsonl"), "utf8").split("\n").length
            : 0;
          if (lines > stopAt) controller.abort();
        }, 1);
        const ran = await sft(
          existsSync(parts) ? ["--resume", "--out", parts] : [...began, "--out", parts],
          controller.signal,
        );
        clearInterval(watch);
        if (ran.code === 130) expect(ran.stderr).toContain(`continue with: vbon sft --resume --out ${parts}`);
      }
      expect((await sft(["--resume", "--out", parts])).code).toBe(0);
      expect(weights(parts)).toBe(weights(whole));
      expect(await withoutTimes(parts)).toEqual(await withoutTimes(whole));
      expect(readFileSync(join(parts, "samples.jsonl"), "utf8")).toBe(
        readFileSync(join(whole, "samples.jsonl"), "utf8"),
      );
    },
  );

  it("fine-tunes on responses, and refuses those that do not fit", async () => {
    const start = folder();
    await sft([...flags, "--out", start]);
    const model = ["--model", join(start, "model"), "--batch", "2", "--steps", "4", "--eval-fraction", "0"];
    const pairs = Array.from({ length: 8 }, (_, i) => ({
      prompt: "the",
      response: i % 2 ? " runs" : " runs runs",
    }));
    const out = folder();
    const { code, stderr: err } = await sft([...model, "--data", jsonl(pairs), "--out", out]);
    expect(code, err).toBe(0);
    const long = jsonl([...pairs, { prompt: "the", response: " zebra".repeat(20) }]);
    const refused = await sft([...model, "--data", long, "--out", folder()]);
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringMatching(/sft: .*data\.jsonl:9: prompt and response have \d+ tokens; expected at most 17/),
    ]);
    expect((await sft([...model, "--data", long, "--out", folder(), "--truncate"])).code).toBe(0);
    const wide = await sft([...model, "--data", jsonl(pairs), "--out", folder(), "--block", "32"]);
    expect([wide.code, wide.stderr]).toEqual([
      2,
      expect.stringContaining("--block 32 exceeds the model's context of 16"),
    ]);
  });

  it("takes GPT-2, a tokenizer of its own choice and another text field", async () => {
    const first = folder();
    await sft([...flags, "--out", first]);
    const data2 = jsonl(Array.from({ length: 30 }, (_, i) => ({ body: `the cat runs and the dog ${i}` })));
    const argv = [
      "--family",
      "gpt2",
      "--layers",
      "1",
      "--dim",
      "16",
      "--heads",
      "2",
      "--block",
      "16",
      "--batch",
      "2",
      "--steps",
      "2",
      "--accumulate",
      "2",
    ];
    const out = folder();
    const { code, stderr: err } = await sft([
      ...argv,
      "--data",
      data2,
      "--text-field",
      "body",
      "--tokenizer",
      join(first, "tokenizer"),
      "--out",
      out,
    ]);
    expect(code, err).toBe(0);
    expect(JSON.parse(readFileSync(join(out, "model", "config.json"), "utf8"))).toMatchObject({
      model_type: "gpt2",
      n_positions: 16,
    });
  });

  it("leaves nothing of a start that failed", async () => {
    const out = folder();
    expect((await sft([...flags, "--batch", "5000", "--out", out])).code).toBe(2);
    const { code, stderr: err } = await sft([...flags, "--vocab", "260", "--steps", "1", "--out", out]);
    expect(code, err).toBe(0);
    expect(JSON.parse(readFileSync(join(out, "model", "config.json"), "utf8"))).toMatchObject({
      vocab_size: 260,
    });
  });

  it("refuses to resume on other data", async () => {
    const [out, changing] = [folder(), documents(60)];
    expect((await sft([...flags, "--data", changing, "--out", out])).code).toBe(0);
    appendFileSync(changing, "\n<|endoftext|>\nthe cat sleeps");
    const { code, stderr: err } = await sft(["--resume", "--out", out]);
    expect([code, err]).toEqual([2, expect.stringContaining("the data have changed since this run began")]);
  });

  it.each([
    [["--data", "/no/such.txt"], "/no/such.txt: no such file; check the path"],
    [["--data", jsonl(['{"text": "a"}', "{oops"])], "data.jsonl:2: malformed JSON"],
    [
      ["--data", jsonl([{ text: "a" }, { prompt: "b", response: "c" }])],
      'data.jsonl:2: {"prompt", "response"} among lines of text',
    ],
    [
      ["--data", jsonl([{ words: 1 }]), "--text-field", "words"],
      'data.jsonl:1: expected a text in "words", got 1',
    ],
    [["--data", jsonl([{ text: "too little" }])], "expected at least 17 tokens for a block of 16"],
    [["--data", data, "--heads", "3"], "--heads 3, --dim 16: expected a width that is an even multiple"],
    [["--data", data, "--batch", "5000"], "items do not fill a batch of 5000"],
    [["--data", data, "--model", "/no/model"], "/no/model: expected a model folder"],
  ])("refuses %j", async (argv, message) => {
    const { code, stderr: err } = await sft([...TINY, "--eval-fraction", "0", ...argv, "--out", folder()]);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });
});

describe("reward", () => {
  const texts = Array.from({ length: 200 }, (_, i) => ({
    text: `the ${["cat", "dog", "sun"][i % 3]} is ${i % 2 ? "good" : "bad"}`,
    label: i % 2,
  }));
  const flags = [...TINY, "--steps", "40", "--lr", "0.02", "--eval-every", "10"];

  it("trains on labelled lines; the model is a reward", async () => {
    const out = folder();
    const {
      code,
      stdout: text,
      stderr: err,
    } = await reward([...flags, "--data", jsonl(texts), "--out", out, "--json"]);
    expect(code, err).toBe(0);
    expect(JSON.parse(text)).toMatchObject({ accuracy: 1, texts: 20 });
    const lm = folder();
    await sft(["--data", documents(60), ...TINY, "--steps", "1", "--out", lm]);
    const input = jsonl([{ text: "the dog is good" }, { text: "the dog is bad" }]);
    const scored = await cli(
      ["score", "--model", join(lm, "model"), "--reward", join(out, "model"), "--input", input],
      { device },
    );
    const [good, bad] = scored.stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { score: number }).score);
    expect(good!).toBeGreaterThan(0);
    expect(bad!).toBeLessThan(0);
  });

  it("trains on preferences, resumes to the same weights, and on the best and worst of a cache", async () => {
    const pairs = texts.slice(0, 100).map((_, i) => ({
      prompt: `the ${["cat", "dog", "sun"][i % 3]} is`,
      better: " good",
      worse: " bad",
    }));
    const named = ["--pairs", jsonl(pairs), "--chosen-field", "better", "--rejected-field", "worse"];
    const [whole, parts] = [folder(), folder()];
    const { code, stdout: text, stderr: err } = await reward([...flags, ...named, "--out", whole, "--json"]);
    expect(code, err).toBe(0);
    expect(JSON.parse(text)).toMatchObject({ accuracy: 1, pairs: 10 });
    const controller = new AbortController();
    controller.abort();
    const stopped = await cli(["reward", ...flags, ...named, "--out", parts], {
      device,
      signal: controller.signal,
    });
    expect(stopped.code).toBe(130);
    expect((await reward(["--resume", "--out", parts])).code).toBe(0);
    expect(weights(parts)).toBe(weights(whole));
    const line = (i: number): object => ({
      prompt: `the ${["cat", "dog", "sun"][i % 3]} is`,
      responses: [" bad", " good", " bad", " good"],
      rewards: [0, 1, 0, 1],
      i,
    });
    const cache = jsonl(Array.from({ length: 3 }, (_, i) => line(i)));
    const west = await reward([
      ...flags,
      "--west-of",
      cache,
      "--n",
      "2",
      "--out",
      folder(),
      "--json",
      "--batch",
      "2",
      "--test-fraction",
      "0.3",
      "--validation-fraction",
      "0.3",
    ]);
    expect(west.code, west.stderr).toBe(0);
    expect(JSON.parse(west.stdout)).toMatchObject({ accuracy: 1 });
  });

  it("starts from a language model's trunk, on two files, and resumes to the same weights", async () => {
    const lm = folder();
    await sft(["--data", documents(60), ...TINY, "--steps", "2", "--out", lm]);
    const [where, whole] = [scratch(), folder()];
    mkdirSync(where, { recursive: true });
    const file = (name: string, label: number): string => {
      writeFileSync(
        join(where, name),
        texts
          .filter((t) => t.label === label)
          .map((t) => `${t.text}\n`)
          .join(""),
      );
      return join(where, name);
    };
    const argv = [
      "--model",
      join(lm, "model"),
      "--positive",
      file("pos", 1),
      "--negative",
      file("neg", 0),
      "--batch",
      "4",
      "--steps",
      "20",
      "--eval-every",
      "5",
      "--save-every",
      "5",
    ];
    expect((await reward([...argv, "--out", whole])).code).toBe(0);
    const parts = folder();
    const controller = new AbortController();
    controller.abort();
    expect((await cli(["reward", ...argv, "--out", parts], { device, signal: controller.signal })).code).toBe(
      130,
    );
    expect((await reward(["--resume", "--out", parts])).code).toBe(0);
    expect(weights(parts)).toBe(weights(whole));
  });

  it.each([
    [[], "expected one of --data FILE.jsonl, --positive FILE with --negative FILE"],
    [["--positive", "x"], "expected one of --data FILE.jsonl, --positive FILE with --negative FILE"],
    [
      ["--data", jsonl([{ text: "a", label: 2 }])],
      'data.jsonl:1: expected {"text": string, "label": 0 or 1}',
    ],
    [["--data", jsonl([{ text: "a", label: 1 }])], "expected texts of both labels, got 1 good ones of 1"],
    [["--data", jsonl(texts), "--pairs", "x"], "expected one of --data FILE.jsonl"],
    [
      ["--pairs", jsonl([{ chosen: "a", rejected: 3 }])],
      'data.jsonl:1: expected texts in "chosen" and "rejected"',
    ],
    [
      ["--data", jsonl(texts), "--patience", "-1"],
      "--patience: expected a whole number of at least 0; got -1",
    ],
  ])("refuses %j", async (argv, message) => {
    const { code, stderr: err } = await reward([...flags, ...argv, "--out", folder()]);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });
});
