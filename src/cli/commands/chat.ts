/** `vbon chat`: a conversation with a model. */
import { z } from "zod";
import { answered, type Chat, type Message } from "../../data/tokenizer/chat.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import { createEngine, type Engine } from "../../generate/engine.ts";
import type { ModelConfig } from "../../nn/lm.ts";
import { adapterField } from "../flags/lora.ts";
import { chatFields, talking } from "../flags/prompts.ts";
import { drawing, kvDtypeField, samplingFields, stopField } from "../flags/sampling.ts";
import { endIds, openLanguageModel, tokenizerField } from "../open.ts";
import { streamOne } from "../stream.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";

const MAX_NEW_TOKENS = 256;

const schema = z.strictObject({
  model: z.string().meta({ description: "the model's folder, or its name on the hub", hint: "DIR" }),
  tokenizer: tokenizerField,
  adapter: adapterField,
  system: z.string().optional().meta({ description: "what the system says first", hint: "TEXT" }),
  chatTemplate: chatFields.chatTemplate,
  maxNewTokens: z
    .number()
    .int()
    .positive()
    .optional()
    .meta({ description: `most tokens of an answer (default ${MAX_NEW_TOKENS}, or half the context)` }),
  greedy: z
    .boolean()
    .default(false)
    .meta({ description: "always the likeliest token; nothing is drawn at random", heading: "Sampling" }),
  ...samplingFields,
  stop: stopField,
  seed: z.number().int().min(0).default(0).meta({ description: "same seed, same words, same answers" }),
  kvDtype: kvDtypeField,
});

type Config = z.output<typeof schema>;

/** Lines of stdin, each answered on stdout. */
export const chat: AnyVerb = defineVerb({
  name: "chat",
  summary: "talk with a model in its chat template, line by line",
  schema,
  examples: [
    { does: "what a run has made of it", line: "vbon chat --model runs/chat/model" },
    {
      does: "one question from a pipe",
      line: 'echo "Why is the sky blue?" | vbon chat --model Qwen/Qwen2.5-0.5B-Instruct --greedy',
    },
  ],
  async run(config, io) {
    const { system, chatTemplate } = config;
    const opened = await openLanguageModel(
      await io.device(),
      config.model,
      undefined,
      config.adapter,
      config.tokenizer,
    );
    const { tokenizer, conversing } = await talking(opened.tokenizer, { chat: true, system, chatTemplate });
    const { maxNewTokens, room } = roomIn(opened.model.config, config);
    const engine = await createEngine(opened.model, 1, room, {
      maxNewTokens,
      eosIds: endIds(opened.model, tokenizer),
      ...drawing(config, tokenizer),
    });
    io.note(`${opened.name}: say something; ${ANEW} begins anew, Ctrl-D ends`);
    await converse({ engine, tokenizer, template: conversing.open(), room }, config, io);
    engine.dispose();
  },
});

/** Forgets what was said. */
const ANEW = "/new";

/** Tokens of an answer, and of what stands before it. */
function roomIn(
  { blockSize }: ModelConfig,
  { maxNewTokens = Math.min(MAX_NEW_TOKENS, blockSize >> 1) }: Config,
): { readonly maxNewTokens: number; readonly room: number } {
  if (maxNewTokens < blockSize) return { maxNewTokens, room: blockSize - maxNewTokens };
  throw new ConfigError(
    `vbon chat: --max-new-tokens ${maxNewTokens} leaves the model's context of ${blockSize} no room for a question; lower it`,
  );
}

/** The model's side. */
interface Speaker {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly template: Chat;
  /** Tokens that a conversation may have before an answer. */
  readonly room: number;
}

async function converse(speaker: Speaker, { system, seed }: Config, io: Io): Promise<void> {
  const { engine, tokenizer, template, room } = speaker;
  const beginning: readonly Message[] = system === undefined ? [] : [{ role: "system", content: system }];
  const reject = (): Promise<number[]> => Promise.resolve(io.signal.aborted ? [0] : []);
  let said = beginning;
  let turn = 0;
  for await (const line of io.lines()) {
    const content = line.trim();
    if (content === ANEW) said = beginning;
    if (content === "" || content === ANEW) continue;
    const asked = recent([...said, { role: "user", content }], beginning.length, template, room);
    if (!asked) {
      io.note(`that is longer than ${room} tokens, which is what the model's context leaves; say less`);
      continue;
    }
    const ids = template.prompt(asked, "vbon chat");
    const answer = await streamOne(engine, { ids, stream: [turn++, 0] }, tokenizer, { seed, reject }, io);
    if (!answer) return io.stream("\n");
    const text = tokenizer.decode(answer.sample.ids, { skipSpecialTokens: true });
    io.result({ user: content, assistant: text, finish: answer.sample.finish }, answer.rest);
    said = answered(asked, text);
  }
}

/** As much of a conversation's end as there is room for, after its first `kept` messages; undefined where there is none for the question. */
function recent(
  messages: readonly Message[],
  kept: number,
  template: Chat,
  room: number,
): readonly Message[] | undefined {
  const [beginning, exchanges] = [messages.slice(0, kept), messages.slice(kept)];
  for (let from = 0; from < exchanges.length; from += 2) {
    const rest = [...beginning, ...exchanges.slice(from)];
    if (template.prompt(rest, "vbon chat").length <= room) return rest;
  }
  return undefined;
}
