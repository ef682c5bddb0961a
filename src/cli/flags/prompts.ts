/** Flags that say how prompts are read: which field, which template, whose conversation. */
import { z } from "zod";
import type { PromptOptions } from "../../align/cache/prompts.ts";
import type { FieldNames } from "../../data/datasets/dataset.ts";
import { kindOf, readText } from "../../data/files.ts";
import { type Conversing, conversing, openChat } from "../../data/tokenizer/chat.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";

/** Settings of conversations. */
export interface ChatFlags {
  readonly chat: boolean;
  readonly system?: string | undefined;
  readonly chatTemplate?: string | undefined;
}

type Text = z.ZodOptional<z.ZodString>;
type Enum<T extends string> = z.ZodEnum<{ [name in T]: name }>;

interface ChatFields {
  readonly chat: z.ZodDefault<z.ZodBoolean>;
  readonly system: Text;
  readonly chatTemplate: Text;
}

interface PromptFields {
  readonly promptField: Text;
  readonly promptFormat: z.ZodDefault<Enum<"plain" | "tldr">>;
  readonly promptMaxTokens: z.ZodDefault<z.ZodNumber>;
  readonly distribution: z.ZodOptional<Enum<"in" | "out">>;
}

/** Fields for a command that takes prompts. Records of {messages} need none of them. */
export const chatFields: ChatFields = {
  chat: z.boolean().default(false).meta({
    description:
      "prompts are what a user says, in the tokenizer's chat template; records of {messages} always are conversations",
    heading: "Conversations",
  }),
  system: z.string().optional().meta({ description: "what the system says first, with --chat" }),
  chatTemplate: z.string().optional().meta({
    description: "another template: one of the tokenizer's by its name, or a Jinja file",
    hint: "NAME|FILE",
  }),
};

/** Fields for a command that reads files of prompts. */
export const promptFields: PromptFields = {
  promptField: z.string().optional().meta({
    description: "the field or column of --prompts that holds the prompt (default: text or prompt)",
    hint: "NAME",
  }),
  promptFormat: z.enum(["plain", "tldr"]).default("plain").meta({
    description:
      'tldr: records of {subreddit, title, post} as "SUBREDDIT: r/… TITLE: … POST: … TL;DR:", the post cut where it is too long',
  }),
  promptMaxTokens: z
    .number()
    .int()
    .positive()
    .default(512)
    .meta({ description: "of --prompt-format tldr: tokens of a prompt at most" }),
  distribution: z.enum(["in", "out"]).optional().meta({
    description:
      "of --prompt-format tldr: only posts of the forums on relationships (in), or of others (out)",
  }),
};

/** What {@link promptFields} give. */
export interface PromptFlags {
  readonly promptField?: string | undefined;
  readonly promptFormat: "plain" | "tldr";
  readonly promptMaxTokens: number;
  readonly distribution?: "in" | "out" | undefined;
}

/** How `readPrompts` is to read. @throws ConfigError for settings that ask for nothing */
export function promptReading(
  { promptField, promptFormat, promptMaxTokens, distribution }: PromptFlags,
  how: Conversing,
): PromptOptions {
  if (distribution !== undefined && promptFormat !== "tldr")
    throw new ConfigError(
      "--distribution chooses among posts of Reddit; expected --prompt-format tldr beside it",
    );
  return {
    field: promptField,
    format: promptFormat,
    maxTokens: promptMaxTokens,
    distribution,
    conversing: how,
  };
}

/** A tokenizer as the flags want it, and how conversations are met with it. */
export interface Talking {
  /** With the template of a file, where that is given. */
  readonly tokenizer: Tokenizer;
  readonly conversing: Conversing;
}

/**
 * The tokenizer with the template that the flags ask for.
 * @throws ConfigError for --system without --chat, or a template that is neither a name nor a file
 */
export async function talking(given: Tokenizer, { chat, system, chatTemplate }: ChatFlags): Promise<Talking> {
  if (system !== undefined && !chat)
    throw new ConfigError(
      "--system is said before a prompt in a conversation; expected --chat beside it, or a message of the role system in the records",
    );
  const { tokenizer, name } = await templateOf(given, chatTemplate);
  const how = conversing(tokenizer, { chat, system, name });
  if (chat || chatTemplate !== undefined) how.open(); // what is amiss is said at once
  return { tokenizer, conversing: how };
}

/** The tokenizer, and the name of its template: that of a file becomes its own. */
async function templateOf(
  given: Tokenizer,
  asked: string | undefined,
): Promise<{ readonly tokenizer: Tokenizer; readonly name?: string | undefined }> {
  if (asked === undefined || given.chatTemplates.has(asked)) return { tokenizer: given, name: asked };
  if ((await kindOf(asked)) === "file") return { tokenizer: given.withChatTemplate(await readText(asked)) };
  if (/[./\\]/.test(asked))
    throw new ConfigError(
      `--chat-template ${asked}: no such file, and no template of the tokenizer's has that name`,
    );
  return { tokenizer: given, name: asked };
}

/**
 * The tokenizer with the template that is asked for as its only one: a reward is asked in the one that it learnt in.
 * @throws ConfigError for a template that is neither a name nor a file
 */
export async function withTemplate(given: Tokenizer, asked: string | undefined): Promise<Tokenizer> {
  const { tokenizer, name } = await templateOf(given, asked);
  if (asked === undefined) return tokenizer;
  openChat(tokenizer, name); // what is amiss is said at once
  return name === undefined ? tokenizer : tokenizer.withChatTemplate(tokenizer.chatTemplates.get(name)!);
}

/** Fields for a command that reads texts, or prompts with responses. */
export const fieldFields: Readonly<Record<"textField" | "promptField" | "responseField", Text>> = {
  textField: fieldName("text", "text"),
  promptField: fieldName("prompt", "prompt"),
  responseField: fieldName("response to it", "response"),
};

function fieldName(what: string, usual: string): Text {
  const description = `the field or column that holds the ${what} (default ${usual})`;
  return z.string().optional().meta({ description, hint: "NAME" });
}

/** What the fields of a file are called, from {@link fieldFields}. */
export const fieldsOf = (flags: {
  readonly textField?: string | undefined;
  readonly promptField?: string | undefined;
  readonly responseField?: string | undefined;
}): FieldNames => ({ text: flags.textField, prompt: flags.promptField, response: flags.responseField });
