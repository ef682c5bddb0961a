/** `vbon chat`: answers in the model's template, what was said before them, and what there is no room for. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, describe, expect, it } from "vitest";
import { readLines } from "../../src/cli/lines.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { testDevice } from "../support/device.ts";
import { cli, flags, type Outcome } from "../support/run-cli.ts";
import { tinyChatLm, tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-talk-"));
const [model, plain] = [join(folder, "model"), join(folder, "plain")];
await tinyChatLm(device, model);
await tinyLm(device, plain);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

type Settings = Parameters<typeof flags>[0];
interface Said {
  readonly user: string;
  readonly assistant: string;
  readonly finish: string;
}

async function* from(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

const talk = (settings: Settings, ...lines: string[]): Promise<Outcome> =>
  cli(["chat", ...flags({ model, maxNewTokens: 5, ...settings })], { device, lines: () => from(lines) });

async function answers(settings: Settings, ...lines: string[]): Promise<Said[]> {
  const { code, stdout, stderr } = await talk({ json: true, ...settings }, ...lines);
  expect(code, stderr).toBe(0);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Said);
}

const generated = async (prompt: string): Promise<string> => {
  const settings = { model, prompt, maxNewTokens: 5, greedy: true, json: true };
  const { stdout } = await cli(["generate", ...flags(settings)], { device });
  return (JSON.parse(stdout) as { text: string }).text;
};

describe("an answer", () => {
  it("follows all that was said", async () => {
    const [first, second] = await answers({ greedy: true }, "the cat", "", "  a dog ");
    expect(first).toMatchObject({ user: "the cat", assistant: await generated("u:the cat\na:") });
    const before = `u:the cat\na:${first!.assistant}\nu:a dog\na:`;
    expect(second).toMatchObject({ user: "a dog", assistant: await generated(before) });
  });

  it("follows what the system says first, and nothing else after /new", async () => {
    const [first, second] = await answers({ greedy: true, system: "sit" }, "the cat", "/new", "the cat");
    expect(first!.assistant).toBe(await generated("s:sit\nu:the cat\na:"));
    expect(second).toEqual(first);
  });

  it("is the same for the same seed and words, and another the second time", async () => {
    const [once, again] = [await answers({}, "the", "/new", "the"), await answers({}, "the", "/new", "the")];
    expect(again).toEqual(once);
    expect(once[1]!.assistant).not.toBe(once[0]!.assistant);
  });

  it("comes without what there is no room for", async () => {
    const all = await answers({ greedy: true }, ...Array.from({ length: 12 }, (_, i) => `the cat ${i}`));
    const last = all.pop()!;
    const tokenizer = await loadTokenizer(model);
    const after = (from: number): string =>
      `${all
        .slice(from)
        .map(({ user, assistant }) => `u:${user}\na:${assistant}\n`)
        .join("")}u:${last.user}\na:`;
    const first = [...all.keys()].find((from) => tokenizer.encode(after(from)).length <= 59)!;
    expect(first).toBeGreaterThan(0);
    expect(last.assistant).toBe(await generated(after(first)));
    const { stdout, stderr } = await talk({}, "cat ".repeat(90), "the cat");
    expect(stderr).toMatch(
      /that is longer than 59 tokens, which is what the model's context leaves; say less/,
    );
    expect(stdout.trimEnd().split("\n").length).toBe(1);
  });

  it("is streamed as text, a line each", async () => {
    const { stdout } = await talk({ greedy: true }, "the cat");
    expect(stdout).toBe(`${(await answers({ greedy: true }, "the cat"))[0]!.assistant}\n`);
  });
});

it.each([
  [{ model: plain }, /this tokenizer has no chat template .* --chat-template/],
  [{ maxNewTokens: 64 }, /--max-new-tokens 64 leaves the model's context of 64 no room for a question/],
] as const)("%j is refused", async (settings, message) => {
  const { code, stderr } = await talk(settings, "the cat");
  expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
});

describe("lines", () => {
  const reading = (text: string, signal = new AbortController().signal): AsyncGenerator<string> => {
    const input = new PassThrough();
    input.end(text);
    return readLines(input as unknown as NodeJS.ReadStream, process.stderr, signal);
  };

  it("end with the input, or when the command is to stop", async () => {
    const all: string[] = [];
    for await (const line of reading("one\ntwo")) all.push(line);
    expect(all).toEqual(["one", "two"]);
    const stopping = new AbortController();
    const seen: string[] = [];
    for await (const line of reading("one\ntwo\n", stopping.signal)) {
      seen.push(line);
      stopping.abort();
    }
    expect(seen).toEqual(["one"]);
  });
});
