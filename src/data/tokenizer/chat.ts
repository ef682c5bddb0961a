/**
 * Conversations as the text that a model was trained on, by the Jinja template that comes with its tokenizer and
 * `@huggingface/jinja`. Templates get what transformers gives them: messages, add_generation_prompt, the special tokens,
 * and neither tools nor documents. They write their own BOS, so a text is encoded without adding one: never two of them.
 */
import { Template } from "@huggingface/jinja";
import { ConfigError, FormatError, messageOf } from "../../errors.ts";
import { isRecord } from "../json.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What one side of a conversation says; further fields go to the template as they are. */
export interface Message {
  readonly role: string;
  readonly content: string;
  readonly [field: string]: unknown;
}

/** What an assistant answers, as token ids. */
export interface Answer {
  /** All that stands before it, up to where the assistant begins to write. */
  readonly prompt: readonly number[];
  /** The answer and what ends it. */
  readonly response: readonly number[];
  /** The same as the user sees it. */
  readonly text: string;
  /** The messages before it. */
  readonly before: readonly Message[];
}

/** A template with its tokenizer. `where` names what is being read, for errors. */
export interface Chat {
  /** Ids of a conversation whose next turn is the assistant's. Throws FormatError when the template refuses it. */
  prompt(messages: readonly Message[], where: string): number[];
  /** Ids of a conversation as it stands. Throws FormatError when the template refuses it. */
  whole(messages: readonly Message[], where: string): number[];
  /**
   * Every answer of the assistant with what stands before it.
   * Throws FormatError when the template refuses the conversation, or there is no answer in it.
   */
  answers(messages: readonly Message[], where: string): Answer[];
}

/** How a command meets conversations. */
export interface Conversing {
  /** The tokenizer's chat; opened where the first conversation is met. Throws as {@link openChat}. */
  open(): Chat;
  /** A plain prompt as a conversation; without it, plain prompts stay plain. */
  readonly wrap?: (prompt: string) => readonly Message[];
}

/**
 * Conversations in the template called `name`.
 * @param asked `chat`: plain prompts are what a user says, after what `system` says
 */
export function conversing(
  tokenizer: Tokenizer,
  {
    chat,
    system,
    name,
  }: { readonly chat?: boolean; readonly system?: string | undefined; readonly name?: string | undefined },
): Conversing {
  let opened: Chat | undefined;
  const open = (): Chat => (opened ??= openChat(tokenizer, name));
  const first = system === undefined ? [] : [{ role: "system", content: system }];
  return chat ? { open, wrap: (content) => [...first, { role: "user", content }] } : { open };
}

/** A prompt and its response as a conversation, where plain prompts are to be one. */
export function exchange(
  { prompt, response }: { readonly prompt: string; readonly response: string },
  { wrap }: Conversing,
): readonly Message[] | undefined {
  return wrap && answered(wrap(prompt), response);
}

/** A conversation with what the assistant answers. */
export const answered = (messages: readonly Message[], response: string): readonly Message[] => [
  ...messages,
  { role: ASSISTANT, content: response },
];

const NAME_OF_DEFAULT = "default";
/** The role that answers. */
export const ASSISTANT = "assistant";

/**
 * Opens the chat template of `tokenizer`.
 * @param name which one, where it has several
 * @throws ConfigError when it has none of that name; FormatError when the template is no Jinja
 */
export function openChat(tokenizer: Tokenizer, name: string = NAME_OF_DEFAULT): Chat {
  const { chatTemplates: all } = tokenizer;
  const source = all.get(name);
  if (source === undefined) {
    throw new ConfigError(
      all.size === 0
        ? "chat: this tokenizer has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja); " +
            "give one with --chat-template FILE.jinja, or prompts as plain text"
        : `chat: this tokenizer has no chat template "${name}"; it has ${[...all.keys()].join(", ")} (--chat-template NAME)`,
    );
  }
  const render = renderer(compile(name, source), tokenizer);
  return {
    prompt: (messages, where) => encode(tokenizer, render(messages, true, where)),
    whole: (messages, where) => encode(tokenizer, render(messages, false, where)),
    answers: (messages, where) => answersOf(tokenizer, render, messages, where),
  };
}

/**
 * The messages of a record.
 * @throws FormatError naming the message that is none
 */
export function readMessages(value: unknown, where: string): readonly Message[] {
  if (!Array.isArray(value) || value.length === 0)
    throw new FormatError(
      `${where}: expected "messages" to be a list of {"role", "content"}, got ${brief(value)}`,
    );
  value.forEach((message: unknown, i) => {
    const { role, content } = isRecord(message) ? message : {};
    if (typeof role === "string" && role !== "" && typeof content === "string") return;
    throw new FormatError(
      `${where}: message ${i + 1}: expected {"role": "user", "content": "text"}, got ${brief(message)}`,
    );
  });
  return value as Message[];
}

/**
 * Refuses a conversation that ends with the assistant: nobody is asked anything.
 * @throws FormatError
 */
export function checkAsks(messages: readonly Message[], where: string): void {
  if (messages.at(-1)?.role !== ASSISTANT) return;
  throw new FormatError(
    `${where}: the last message is the assistant's; a prompt ends with what it is to answer: leave that message out`,
  );
}

/**
 * Refuses a conversation that ends with somebody else's words: there is no answer to judge.
 * @throws FormatError
 */
export function checkAnswers(messages: readonly Message[], where: string): void {
  const role = messages.at(-1)?.role;
  if (role === ASSISTANT) return;
  throw new FormatError(
    `${where}: the last message is of the role "${role}"; a conversation that is judged ends with the assistant's answer`,
  );
}

type Render = (messages: readonly Message[], addGenerationPrompt: boolean, where: string) => string;

function compile(name: string, source: string): Template {
  try {
    return new Template(source);
  } catch (error) {
    throw new FormatError(
      `chat: the template "${name}" is none that @huggingface/jinja reads (${messageOf(error)})`,
    );
  }
}

function renderer(template: Template, { specialTokens }: Tokenizer): Render {
  return (messages, addGenerationPrompt, where) => {
    try {
      // Copies: a template may set fields of its messages.
      return template.render({
        ...specialTokens,
        messages: messages.map((message) => ({ ...message })),
        add_generation_prompt: addGenerationPrompt,
        tools: null,
        documents: null,
      });
    } catch (error) {
      throw new FormatError(
        `${where}: the chat template refuses the conversation: ${brief(messageOf(error), 200)}`,
      );
    }
  };
}

const encode = (tokenizer: Tokenizer, text: string): number[] =>
  tokenizer.encode(text, { addSpecialTokens: false });

function answersOf(
  tokenizer: Tokenizer,
  render: Render,
  messages: readonly Message[],
  where: string,
): Answer[] {
  const answers = messages.flatMap(({ role }, i) => {
    if (role !== ASSISTANT) return [];
    const before = messages.slice(0, i);
    const asked = render(before, true, where);
    const told = render(messages.slice(0, i + 1), false, where);
    if (told.length > asked.length && told.startsWith(asked))
      return [{ ...split(tokenizer, asked, told), text: messages[i]!.content, before }];
    throw new FormatError(
      `${where}: message ${i + 1}: the chat template does not write an answer after its prompt; it cannot be trained or scored with`,
    );
  });
  if (answers.length > 0) return answers;
  throw new FormatError(`${where}: expected a message of the assistant, got ${messages.length} of others`);
}

/**
 * Both parts are encoded together where the prompt's ids stay what they are when the model is asked, else each on its
 * own: the joint is where it is at inference.
 */
function split(tokenizer: Tokenizer, asked: string, told: string): Pick<Answer, "prompt" | "response"> {
  const prompt = encode(tokenizer, asked);
  const whole = encode(tokenizer, told);
  const together = prompt.every((id, i) => whole[i] === id);
  const response = together ? whole.slice(prompt.length) : encode(tokenizer, told.slice(asked.length));
  return { prompt, response };
}

function brief(value: unknown, most = 80): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "nothing");
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
