/** Conversations on the command line: --chat, records of {messages}, training and scoring on answers; wrong ones refused. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readCache } from "../../src/align/cache/file.ts";
import { openChat } from "../../src/data/tokenizer/chat.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { CHATML, MISTRAL } from "../support/chat-templates.ts";
import { testDevice } from "../support/device.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";
import { letterReward, tinyChatLm, tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-chat-"));
const [model, plain] = [join(folder, "model"), join(folder, "plain")];
await tinyChatLm(device, model);
await tinyLm(device, plain);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

type Settings = Parameters<typeof flags>[0];
const run = (verb: string, settings: Settings): Promise<Outcome> => vbon(device, [verb, ...flags(settings)]);
const write = (name: string, ...records: readonly unknown[]): string => {
  const path = join(folder, name);
  writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return path;
};
const line = <T>({ stdout, code, stderr }: Outcome): T => {
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  return JSON.parse(stdout.split("\n")[0]!) as T;
};
const user = { role: "user", content: "the cat" };
const assistant = { role: "assistant", content: "sat" };

describe("prompts", () => {
  const base = { model, maxNewTokens: 6, json: true };
  const prompt = async (settings: Settings): Promise<string> =>
    line<{ prompt: string }>(await run("generate", { ...base, ...settings })).prompt;

  it("are what a user says with --chat, alone and in a file, after what the system says", async () => {
    expect(await prompt({ chat: true, prompt: "the cat" })).toBe("u:the cat\na:");
    expect(await prompt({ chat: true, prompt: "the cat", system: "sit" })).toBe("s:sit\nu:the cat\na:");
    expect(await prompt({ chat: true, prompts: write("text.jsonl", { prompt: "the cat" }) })).toBe(
      "u:the cat\na:",
    );
  });

  it("are records of messages, in any field, and the same ids in a cache", async () => {
    const prompts = write("talk.jsonl", { messages: [user, assistant, user] });
    const text = "u:the cat\na:sat\nu:the cat\na:";
    expect(await prompt({ prompts })).toBe(text);
    expect(await prompt({ prompts: write("other.jsonl", { talk: [user] }), promptField: "talk" })).toBe(
      "u:the cat\na:",
    );
    const out = join(folder, "cache.jsonl");
    const reward = letterReward(folder);
    line(
      await run("cache", { policy: model, reward, prompts, samples: 2, maxNewTokens: 4, out, json: true }),
    );
    const [entry] = [...(await readCache(out)).entries.values()];
    const chat = openChat(await loadTokenizer(model));
    expect(entry!.promptIds).toEqual(chat.prompt([user, assistant, user], "here"));
  });

  it("take another template from a file", async () => {
    const chatTemplate = join(folder, "chatml.jinja");
    writeFileSync(chatTemplate, CHATML);
    expect(await prompt({ model: plain, chat: true, prompt: "the cat", chatTemplate })).toBe(
      "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n",
    );
  });
});

describe("answers", () => {
  it("are trained on, and the template stays with the model", async () => {
    const chatTemplate = join(folder, "plain.jinja");
    writeFileSync(chatTemplate, readFileSync(join(model, "chat_template.jinja")));
    const data = write(
      "train.jsonl",
      ...Array.from({ length: 8 }, () => ({ messages: [user, assistant, user, assistant] })),
    );
    const out = join(folder, "run");
    const settings = {
      model: plain,
      data,
      chatTemplate,
      out,
      epochs: 1,
      batch: 4,
      evalFraction: 0,
      sampleEvery: 0,
      json: true,
    };
    const { model: trained } = line<{ model: string }>(await run("sft", settings));
    expect((await loadTokenizer(trained)).chatTemplates.get("default")).toContain("add_generation_prompt");
  });

  it("are scored behind their prompts; a pair is an exchange with --chat", async () => {
    const input = write("score.jsonl", { messages: [user, assistant] });
    const pairs = write("pairs.jsonl", { q: "the cat", answer: "sat" });
    const scored = line<{ ids: number[] }>(await run("score", { model, input, json: true }));
    expect(scored.ids).toEqual((await loadTokenizer(model)).encode("u:the cat\na:sat\n"));
    const wrapped = {
      model,
      input: pairs,
      chat: true,
      promptField: "q",
      responseField: "answer",
      json: true,
    };
    expect(line(await run("score", wrapped))).toEqual(scored);
  });
});

describe("wrong input is one message and exit code 2", () => {
  const strict = join(folder, "strict.jinja");
  writeFileSync(strict, MISTRAL);
  it.each<[string, string, () => Settings, RegExp]>([
    [
      "no template",
      "generate",
      () => ({ model: plain, chat: true, prompt: "a" }),
      /has no chat template .* give one with --chat-template/,
    ],
    [
      "no template for messages",
      "generate",
      () => ({ model: plain, prompts: write("m.jsonl", { messages: [user] }) }),
      /has no chat template/,
    ],
    [
      "a template that throws",
      "generate",
      () => ({ model, chat: true, prompt: "a", system: "b", chatTemplate: strict }),
      /^--prompt: the chat template refuses .* must alternate/,
    ],
    [
      "no such template",
      "generate",
      () => ({ model, chat: true, prompt: "a", chatTemplate: "no.jinja" }),
      /^--chat-template no.jinja: no such file/,
    ],
    [
      "a system without a chat",
      "generate",
      () => ({ model, prompt: "a", system: "b" }),
      /^--system is said before a prompt/,
    ],
    ["nobody asks", "generate", () => ({ model, chat: true }), /--chat answers somebody/],
    [
      "malformed messages",
      "generate",
      () => ({ model, prompts: write("bad.jsonl", { messages: [{ role: "user" }] }) }),
      /bad.jsonl:1: message 1: expected/,
    ],
    [
      "a prompt that is answered",
      "generate",
      () => ({ model, prompts: write("done.jsonl", { messages: [user, assistant] }) }),
      /done.jsonl:1: the last message is the assistant's/,
    ],
    [
      "no such field",
      "generate",
      () => ({ model, prompts: write("f.jsonl", { a: "b" }), promptField: "q" }),
      /f.jsonl:1: expected a field "q" with the prompt, it has a/,
    ],
    [
      "a half of no posts",
      "generate",
      () => ({ model, prompts: write("f.jsonl", { text: "b" }), distribution: "in" }),
      /--distribution chooses among posts/,
    ],
    [
      "nothing to train on",
      "sft",
      () => ({ model, data: write("t.jsonl", { messages: [user] }), out: join(folder, "t") }),
      /^sft: .*t\.jsonl:1: expected a message of the assistant/,
    ],
    [
      "two kinds",
      "sft",
      () => ({
        model,
        data: write("two.jsonl", { messages: [user] }, { text: "a" }),
        out: join(folder, "u"),
      }),
      /two.jsonl:1: \{"messages"\} among lines of text/,
    ],
    [
      "a conversation of documents",
      "cache",
      () => ({
        policy: model,
        reward: "lexicon:vader",
        out: join(folder, "c.jsonl"),
        documents: write("d.jsonl", { text: "a" }),
        chat: true,
      }),
      /--chat is for records of --prompts/,
    ],
    [
      "a template of documents",
      "cache",
      () => ({
        preset: "tldr",
        policy: model,
        reward: "lexicon:vader",
        out: join(folder, "c.jsonl"),
        documents: write("d.jsonl", { text: "a" }),
      }),
      /--prompt-format tldr is for records of --prompts/,
    ],
    [
      "documents in a conversation",
      "sft",
      () => ({ model, chat: true, data: write("x.jsonl", { text: "a" }), out: join(folder, "v") }),
      /^sft: --chat is for records of/,
    ],
    [
      "a text in a conversation",
      "score",
      () => ({ model, chat: true, input: write("x.jsonl", { text: "a" }) }),
      /x.jsonl:1: --chat is for/,
    ],
  ])("%s", async (_, verb, settings, message) => {
    const { code, stderr } = await run(verb, settings());
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(stderr.trimEnd().split("\n").length).toBe(1);
  });
});
