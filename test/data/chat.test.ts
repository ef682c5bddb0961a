/** Conversations by the templates of well-known models: golden strings, one BOS, every complaint with its place. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { trainBpe } from "../../src/data/tokenizer/bpe.ts";
import { checkAsks, type Message, openChat, readMessages } from "../../src/data/tokenizer/chat.ts";
import { loadTokenizer, type Tokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { ConfigError, FormatError } from "../../src/errors.ts";
import { CHATML, LLAMA3, MISTRAL, QWEN2 } from "../support/chat-templates.ts";
import { formatErrorOf, temporaryFolder } from "./support.ts";
import { saveBpeTokenizer } from "../support/bpe.ts";

const folder = temporaryFolder();
const SPECIAL = {
  llama: ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
  chatml: ["<|endoftext|>", "<|im_end|>", "<|im_start|>"],
  mistral: ["<s>", "</s>"],
} as const;

/** A tokenizer whose config has this template. */
async function withTemplate(name: string, special: readonly string[], template: unknown): Promise<Tokenizer> {
  const path = join(folder, name);
  const bpe = trainBpe(["the cat sat on the mat"], { vocabSize: 265, specialTokens: special });
  await saveBpeTokenizer(path, bpe, { bosToken: special[0]!, eosToken: special[1]! });
  const config = { bos_token: special[0], eos_token: special[1], chat_template: template };
  writeFileSync(join(path, "tokenizer_config.json"), JSON.stringify(config));
  return loadTokenizer(path);
}

const user = (content: string): Message => ({ role: "user", content });
const assistant = (content: string): Message => ({ role: "assistant", content });
const system = (content: string): Message => ({ role: "system", content });
const TALK = [user("Hello "), assistant("Hi!"), user("How are you?")];

describe.each([
  {
    name: "Llama 3",
    special: SPECIAL.llama,
    template: LLAMA3,
    golden:
      "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>" +
      "<|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|>" +
      "<|start_header_id|>user<|end_header_id|>\n\nHow are you?<|eot_id|>" +
      "<|start_header_id|>assistant<|end_header_id|>\n\n",
    answer: "Hi!<|eot_id|>",
  },
  {
    name: "Qwen2",
    special: SPECIAL.chatml,
    template: QWEN2,
    golden:
      "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHello <|im_end|>\n" +
      "<|im_start|>assistant\nHi!<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n",
    answer: "Hi!<|im_end|>\n",
  },
  {
    name: "Mistral",
    special: SPECIAL.mistral,
    template: MISTRAL,
    golden: "<s>[INST] Hello  [/INST]Hi!</s>[INST] How are you? [/INST]",
    answer: "Hi!</s>",
  },
  {
    name: "ChatML in a file",
    special: SPECIAL.chatml,
    template: CHATML,
    golden:
      "<|im_start|>user\nHello <|im_end|>\n<|im_start|>assistant\nHi!<|im_end|>\n" +
      "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n",
    answer: "Hi!<|im_end|>\n",
  },
])("the template of $name", ({ name, special, template, golden, answer }) => {
  it("writes its golden string, with one BOS", async () => {
    const tokenizer = await withTemplate(name, special, template);
    const ids = openChat(tokenizer).prompt(TALK, "here");
    expect(tokenizer.decode(ids)).toBe(golden);
    expect(ids.filter((id) => id === tokenizer.bosId).length).toBe(golden.startsWith(special[0]!) ? 1 : 0);
  });

  it("gives every answer behind what was asked", async () => {
    const tokenizer = await withTemplate(name, special, template);
    const answers = openChat(tokenizer).answers([...TALK, assistant("Well.")], "here");
    expect(answers.map(({ text }) => text)).toEqual(["Hi!", "Well."]);
    expect(tokenizer.decode(answers[0]!.response)).toBe(answer);
    expect(answers[1]!.prompt).toEqual(openChat(tokenizer).prompt(TALK, "here"));
  });
});

describe("where the template is", () => {
  it("is a file of its own before the config, and stays with what is saved", async () => {
    await withTemplate("file", SPECIAL.chatml, "{{ 'not this one' }}");
    writeFileSync(join(folder, "file", "chat_template.jinja"), CHATML);
    const tokenizer = await loadTokenizer(join(folder, "file"));
    await tokenizer.save(join(folder, "saved"));
    const again = await loadTokenizer(join(folder, "saved"));
    expect(again.chatTemplates).toEqual(new Map([["default", CHATML]]));
    const other = tokenizer.withChatTemplate("{{ messages[0].content }}");
    expect(other.decode(openChat(other).prompt([user("cat")], "here"))).toBe("cat");
  });

  it("is one of several by name", async () => {
    const named = [
      { name: "default", template: CHATML },
      { name: "plain", template: "{{ messages[-1].content }}" },
    ];
    const tokenizer = await withTemplate("named", SPECIAL.chatml, named);
    expect(tokenizer.decode(openChat(tokenizer, "plain").prompt(TALK, "here"))).toBe("How are you?");
    expect(() => openChat(tokenizer, "rag")).toThrow(
      new ConfigError(
        'chat: this tokenizer has no chat template "rag"; it has default, plain (--chat-template NAME)',
      ),
    );
  });

  it("is nowhere, malformed, or no Jinja", async () => {
    const none = await withTemplate("none", SPECIAL.chatml, null);
    expect(() => openChat(none)).toThrow(/has no chat template \(chat_template in tokenizer_config.json/);
    const message = await formatErrorOf(withTemplate("odd", SPECIAL.chatml, [{ name: "x" }]));
    expect(message).toContain('expected chat_template to be a text, or a list of {"name", "template"}');
    const broken = await withTemplate("broken", SPECIAL.chatml, "{% for m in %}");
    expect(() => openChat(broken)).toThrow(/the template "default" is none that @huggingface\/jinja reads/);
  });
});

describe("what is refused, by its place", () => {
  it.each<[string, unknown, RegExp]>([
    ["no list", "hello", /^f:3: expected "messages" to be a list of \{"role", "content"\}, got hello/],
    ["nobody", [], /to be a list of \{"role", "content"\}, got \[\]/],
    ["no content", [user("a"), { role: "user" }], /^f:3: message 2: expected .* got \{"role":"user"\}/],
    ["parts", [{ role: "user", content: [{ type: "text" }] }], /message 1: expected/],
  ])("%s", (_, value, message) => {
    expect(() => readMessages(value, "f:3")).toThrow(FormatError);
    expect(() => readMessages(value, "f:3")).toThrow(message);
  });

  it("a prompt that the assistant ends, and an exchange without an answer", async () => {
    expect(() => checkAsks([user("a"), assistant("b")], "f:1")).toThrow(
      /^f:1: the last message is the assistant's/,
    );
    const chat = openChat(await withTemplate("ends", SPECIAL.chatml, CHATML));
    expect(() => chat.answers([user("a")], "f:2")).toThrow(
      /^f:2: expected a message of the assistant, got 1 of others/,
    );
  });

  it("a conversation that the template does not take", async () => {
    const chat = openChat(await withTemplate("strict", SPECIAL.mistral, MISTRAL));
    expect(() => chat.prompt([system("Be brief."), user("Hi")], "f:9")).toThrow(
      /^f:9: the chat template refuses the conversation: Conversation roles must alternate/,
    );
    const loose = openChat(await withTemplate("loose", SPECIAL.mistral, "{{ messages | length }}"));
    expect(() => loose.answers(TALK, "f:1")).toThrow(
      /^f:1: message 2: the chat template does not write an answer after its prompt/,
    );
  });
});
