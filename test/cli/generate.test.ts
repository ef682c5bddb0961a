/** `vbon generate`: exact text on stdout, one line a sample under --json, one message for every wrong input. */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { testDevice } from "../support/device.ts";
import { cli, flags, type Outcome, vbon } from "../support/run-cli.ts";
import { promptFile, tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-generate-"));
const model = join(folder, "model");
await tinyLm(device, model);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

interface Line {
  readonly prompt: string;
  readonly ids: number[];
  readonly text: string;
  readonly logprob: number;
  readonly finish: string;
}

type Settings = Parameters<typeof flags>[0];
const run = (settings: Settings): Promise<Outcome> =>
  vbon(device, ["generate", ...flags({ model, ...settings })]);
const lines = async (settings: Settings): Promise<Line[]> => {
  const { code, stdout } = await run({ json: true, ...settings });
  expect(code).toBe(0);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
};

const stories = new URL("../../../shared/data/stories260K", import.meta.url).pathname;
if (!existsSync(stories))
  console.log("generate: the real model is not tested, ../shared/data/stories260K is not here");

describe.skipIf(!existsSync(stories))("the real model", () => {
  const expected = (): string =>
    (JSON.parse(readFileSync(join(stories, "expected_greedy.json"), "utf8")) as { text: string }).text;

  it("writes its published continuation byte for byte, and one newline", async () => {
    const { code, stdout } = await run({ model: stories, greedy: true, maxNewTokens: 200 });
    expect(code).toBe(0);
    expect(stdout).toBe(`${expected()}\n`);
  });

  it("continues a prompt where its text goes on", async () => {
    const prompt = "Once upon a time";
    const { stdout } = await run({ model: stories, greedy: true, maxNewTokens: 150, prompt });
    expect(expected().startsWith(prompt + stdout.trimEnd())).toBe(true);
    expect(stdout.length).toBeGreaterThan(300);
  });
});

describe("samples", () => {
  it("are the same alone, in any batch, and streamed", async () => {
    const prompts = promptFile(folder, 5);
    const settings = { prompts, samples: 4, maxNewTokens: 12, seed: 3 };
    const together = await lines(settings);
    expect(together.length).toBe(20);
    expect(await lines({ ...settings, batch: 3 })).toEqual(together);
    const { prompt, text } = together[0]!;
    const alone = await run({ prompt, maxNewTokens: 12, seed: 3 });
    expect(alone.stdout).toBe(`${text}\n`);
  });

  it("say prompt, ids, text, log-probability and how they end", async () => {
    const [line] = await lines({ prompt: "the cat", maxNewTokens: 8 });
    expect(Object.keys(line!)).toEqual(["prompt", "ids", "text", "logprob", "finish"]);
    expect(line).toMatchObject({ prompt: "the cat" });
    expect(line!.finish).toBe(line!.ids.length < 8 ? "eos" : "length");
    expect(line!.logprob).toBeLessThan(0);
    expect(line!.logprob).toBeGreaterThan(-8 * 20);
  });

  it("differ for a prompt that is there twice", async () => {
    const prompts = join(folder, "twice.jsonl");
    writeFileSync(prompts, '{"prompt":"the cat"}\n{"text":"the cat"}\n');
    const [first, second] = await lines({ prompts, maxNewTokens: 12 });
    expect(second!.ids).not.toEqual(first!.ids);
    const [one, two] = await lines({ prompt: "the cat", samples: 2, maxNewTokens: 12 });
    expect([one, two]).toEqual([first, second]);
  });

  it("stop at an end token, and do not with --ignore-eos", async () => {
    const settings = { prompt: "the", samples: 256, batch: 256, maxNewTokens: 16, temperature: 3 };
    const ended = (await lines(settings)).filter((l) => l.finish === "eos");
    expect(ended.length).toBeGreaterThan(0);
    expect(ended.every((l) => l.ids.length <= 16)).toBe(true);
    const going = await lines({ ...settings, ignoreEos: true });
    expect(going.every((l) => l.finish === "length" && l.ids.length === 16)).toBe(true);
  });

  it("stop where they say what --stop says, and are the same up to there", async () => {
    const settings = { prompt: "the", samples: 8, maxNewTokens: 24 };
    const tokenizer = await loadTokenizer(model);
    const free = await lines(settings);
    const stopped = await lines({ ...settings, stop: "e" });
    expect(stopped.filter((l) => l.finish === "stop").length).toBeGreaterThan(0);
    stopped.forEach((line, i) => {
      expect(free[i]!.ids.slice(0, line.ids.length)).toEqual(line.ids);
      expect(tokenizer.decode(line.ids.slice(0, -1))).not.toContain("e");
      expect(line.finish === "stop").toBe(free[i]!.text.includes("e"));
    });
    const { stdout } = await run({ prompt: "the", maxNewTokens: 24, stop: "e" });
    expect(stdout.trimEnd()).toBe(stopped[0]!.text.trimEnd());
  });

  it("answer every line of a text file", async () => {
    const prompts = join(folder, "prompts.txt");
    writeFileSync(prompts, "the cat\n\na dog\n");
    const answered = await lines({ prompts, maxNewTokens: 4 });
    expect(answered.map(({ prompt }) => prompt)).toEqual(["the cat", "a dog"]);
  });

  it("are named where there are several", async () => {
    const { stdout } = await run({ prompt: "the", samples: 2, maxNewTokens: 4 });
    expect(stdout).toMatch(/^--- prompt 1, sample 1: "the"\n[^]*\n--- prompt 1, sample 2: "the"\n/);
  });

  it("fill the context where nothing else is asked for", async () => {
    const [line] = await lines({ prompt: "the", ignoreEos: true });
    const long = await run({ prompt: "the", maxNewTokens: 64 });
    expect(long).toMatchObject({ code: 2 });
    expect(long.stderr).toContain(`at most ${line!.ids.length}`);
  });
});

describe("wrong input", () => {
  const cases: [string, Settings | (() => Settings), RegExp][] = [
    ["unknown flag", { maxNewToken: 3 }, /unknown flag --max-new-token; did you mean --max-new-tokens\?/],
    [
      "missing folder",
      { model: join(folder, "nowhere") },
      /nowhere: expected a model folder .* there is nothing/,
    ],
    ["no number", { temperature: "warm" }, /--temperature: expected a number, got "warm"/],
    ["out of range", { topP: 1.5 }, /--top-p: .*1.*got 1\.5/],
    ["two sources of prompts", { prompt: "a", prompts: "b.jsonl" }, /--prompt and --prompts are both given/],
    ["missing file", { prompts: join(folder, "none.jsonl") }, /none\.jsonl: no such file/],
    [
      "malformed line",
      () => ({ prompts: file("bad.jsonl", '{"prompt":"a"}\n{"prompt":\n') }),
      /bad\.jsonl:2: malformed JSON/,
    ],
    [
      "line of another kind",
      () => ({ prompts: file("kind.jsonl", '{"prompt":"a"}\n{"query":"b"}\n') }),
      /kind\.jsonl:2: expected/,
    ],
    [
      "no prompts",
      () => ({ prompts: file("empty.jsonl", "") }),
      /empty\.jsonl: expected at least one prompt/,
    ],
    [
      "id outside the vocabulary",
      () => ({ prompts: file("ids.jsonl", '{"ids":[1,99999]}\n') }),
      /prompt 1 holds the id 99999; expected ids from 0 to/,
    ],
    ["more samples than can be listed", { samples: 1e9 }, /1000000000 responses .* expected at most 5000000/],
    [
      "a run's folder",
      () => {
        cpSync(model, join(folder, "run", "model"), { recursive: true });
        return { model: join(folder, "run") };
      },
      /run: is a run's folder; its model is .*model/,
    ],
    ["a file that is no model", { model: "README.md" }, /README\.md: .*llama2\.c/],
    ["GGUF", () => ({ model: file("x.gguf", "GGUF\u0003") }), /x\.gguf: .*it is GGUF, which is not read/],
    [
      "weights that are not finite",
      () => ({ model: broken("nan", poison) }),
      /nan.*: .*weight holds NaN; expected finite/,
    ],
    [
      "prompt longer than the context",
      { prompt: "cat ".repeat(80) },
      /prompt 1 has \d+ tokens; the model's context holds 64; shorten/,
    ],
    [
      "truncated weights",
      () => ({ model: broken("cut", (m) => truncateSync(join(m, "model.safetensors"), 5000)) }),
      /model\.safetensors: .*(truncated|ends|5000)/,
    ],
    [
      "tokenizer of another size",
      () => ({ model: broken("small", shrink) }),
      /the tokenizer has \d+ tokens, the model \d+; expected a model at least as large/,
    ],
  ];

  for (const [what, settings, message] of cases) {
    it(`is one message and exit code 2: ${what}`, async () => {
      const { code, stdout, stderr } = await run(typeof settings === "function" ? settings() : settings);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(message);
      expect(stderr).not.toContain("    at ");
    });
  }

  function file(name: string, text: string): string {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  }

  function broken(name: string, harm: (copy: string) => void): string {
    const copy = join(folder, name);
    cpSync(model, copy, { recursive: true });
    harm(copy);
    return copy;
  }

  /** The last weight is NaN. */
  function poison(copy: string): void {
    const path = join(copy, "model.safetensors");
    const bytes = readFileSync(path);
    bytes.writeFloatLE(NaN, bytes.length - 4);
    writeFileSync(path, bytes);
  }

  /** A tokenizer with more tokens than the model has rows. */
  function shrink(copy: string): void {
    const path = join(copy, "tokenizer.json");
    const json = JSON.parse(readFileSync(path, "utf8")) as {
      model: { vocab: Record<string, number> };
      added_tokens: unknown[];
    };
    const size = Object.keys(json.model.vocab).length;
    for (let i = 0; i < 50; i++) json.model.vocab[`extra${i}`] = size + i;
    writeFileSync(path, JSON.stringify(json));
  }
});

describe("--best-of", () => {
  /** The reward of a response: how many letters e it has. */
  const reward = join(folder, "letters.mjs");
  writeFileSync(
    reward,
    "export const reward = (inputs) => inputs.map(({ response }) => response.split('e').length);",
  );
  const settings = { prompt: "ab", maxNewTokens: 6, seed: 3 };

  it("keeps of N the one with the best reward, and says what that cost", async () => {
    const all = await lines({ ...settings, samples: 12 });
    const { code, stdout, stderr } = await run({ ...settings, json: true, samples: 3, bestOf: 4, reward });
    expect(code).toBe(0);
    const best = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Line & { score: number; scores: number[] });
    expect(best).toHaveLength(3);
    best.forEach(({ text, score, scores }, i) => {
      const group = all.slice(4 * i, 4 * i + 4).map((line) => line.text);
      const letters = group.map((response) => response.split("e").length);
      expect(scores).toEqual(letters);
      expect(score).toBe(Math.max(...letters));
      expect(text).toBe(group[letters.indexOf(score)]);
    });
    expect(stderr).toMatch(
      /12 responses of \d+ tokens drawn, \d+ tokens kept: [\d.]+ times the tokens; [\d.]+ s of [\d.]+ s/,
    );
  });

  it("gives up the worse of them on the way, and picks what the prefixes say, however many are decoded at once", async () => {
    const all = await lines({ ...settings, samples: 16 });
    // Of tokens, as a prefix of tokens need not be one of letters.
    const thirds = join(folder, "thirds.mjs");
    writeFileSync(
      thirds,
      "export const reward = (inputs) => inputs.map((x) => x.responseIds.filter((id) => id % 3 === 0).length);",
    );
    const count = (ids: readonly number[]): number => ids.filter((id) => id % 3 === 0).length;
    const rejected = {
      ...settings,
      json: true,
      samples: 2,
      bestOf: 8,
      reward: thirds,
      rejectAt: "2,4",
      reject: 0.6,
    };
    const winners = [0, 1].map((g) => {
      let alive = all.slice(8 * g, 8 * g + 8);
      for (const point of [2, 4]) {
        const prefix = ({ ids }: Line): number => count(ids.slice(0, point));
        const order = alive.toSorted((a, b) => prefix(b) - prefix(a) || all.indexOf(a) - all.indexOf(b));
        alive = order.slice(0, Math.ceil(0.4 * alive.length));
        alive.sort((a, b) => all.indexOf(a) - all.indexOf(b));
      }
      return alive.reduce((best, line) => (count(line.ids) > count(best.ids) ? line : best)).text;
    });
    for (const batch of [64, 5, 1]) {
      const { code, stdout, stderr } = await run({ ...rejected, batch });
      expect(code, stderr).toBe(0);
      const got = stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as Line & { scores: number[] });
      expect(got.map(({ text }) => text)).toEqual(winners);
      expect(got.map(({ scores }) => scores.length)).toEqual([2, 2]);
      // 8 at the first point, 4 at the second, 2 at the end.
      expect(stderr).toMatch(/16 responses of \d+ tokens drawn.* in the reward, for 28 texts/);
    }
  });

  it("counts its samples, and hears Ctrl-C between them", async () => {
    const argv = ["generate", ...flags({ model, ...settings, bestOf: 20_000, batch: 8, reward })];
    const { code, stdout, stderr } = await cli(argv, { device, signal: AbortSignal.timeout(500) });
    expect([code, stdout]).toEqual([130, ""]);
    const [, done] = /(\d+)\/20000 samples/.exec(stderr)!;
    expect(Number(done)).toBeGreaterThan(0);
    expect(Number(done)).toBeLessThan(10_000);
  });

  it("counts each once, those too that end at the look that gives them up", async () => {
    for (const seed of [1, 2, 3, 4]) {
      const more = { bestOf: 8, rejectAt: "2,4", stop: "e", reward, seed };
      const { stderr } = await run({ ...settings, maxNewTokens: 24, samples: 1, ...more });
      const [last] = stderr.match(/\d+\/\d+ samples/g)!.slice(-1);
      const [done, total] = last!.split(/[/ ]/);
      expect(done, `seed ${seed}`).toBe(total);
    }
  });

  it("draws fewer tokens for it", async () => {
    const tokens = async (more: object): Promise<number> => {
      const { stderr } = await run({
        ...settings,
        maxNewTokens: 40,
        batch: 4,
        samples: 2,
        bestOf: 8,
        reward,
        ...more,
      });
      return Number(/responses of ([\d,]+) tokens/.exec(stderr)![1]!.replace(",", ""));
    };
    expect(await tokens({ rejectAt: "8" })).toBeLessThan(0.8 * (await tokens({})));
  });

  it.each([
    [{ rejectAt: "4" }, "expected --best-of N and --reward SPEC beside it"],
    [{ bestOf: 4, reward, rejectAt: "4,2" }, "expected rising numbers of tokens"],
    [{ bestOf: 4 }, "expected both --best-of N and --reward SPEC"],
    [{ reward }, "--reward is given alone"],
    [{ bestOf: 4, reward, greedy: true }, "--greedy draws the same response every time"],
    [{ bestOf: 1, reward }, "--best-of"],
    [{ bestOf: 4, reward, rejectAt: "2,6" }, "a response has at most 6 tokens; expected points below that"],
  ])("refuses %j", async (more, said) => {
    const { code, stderr } = await run({ ...settings, ...more });
    expect(code).toBe(2);
    expect(stderr).toContain(said);
  });
});
