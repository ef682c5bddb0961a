/** The demo's prompts: some to learn from, others to be judged on. */
import { z } from "zod";
import type { Prompt } from "../../align/cache/build.ts";
import { promptOf } from "../../align/cache/prompts.ts";
import { readJsonl } from "../../data/datasets/dataset.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError, FormatError } from "../../errors.ts";
import { distinctPrompts } from "../cache/prompts.ts";

/** Prompts by split; no prompt is in both. */
export interface SplitPrompts {
  readonly train: readonly Prompt[];
  readonly test: readonly Prompt[];
}

const Line = z
  .object({
    split: z.enum(["train", "test"]),
    ids: z.array(z.number().int().nonnegative()).min(1).optional(),
    prompt: z.string().optional(),
  })
  .refine(({ ids, prompt }) => ids !== undefined || prompt !== undefined, "expected ids or prompt");

/**
 * Reads lines of `{split: "train" | "test", ids?, prompt?}`. The ids count where they spell the prompt's text in this
 * tokenizer, or stand alone; else the text is encoded, so that a file with both serves any model.
 * @throws FormatError naming the line that is something else; ConfigError when a split is empty
 */
export async function readSplitPrompts(path: string, tokenizer: Tokenizer): Promise<SplitPrompts> {
  const splits: Record<"train" | "test", Prompt[]> = { train: [], test: [] };
  for await (const { line, value } of readJsonl(path)) {
    const parsed = Line.safeParse(value);
    if (!parsed.success) {
      throw new FormatError(
        `${path}:${line}: expected {split, ids} or {split, prompt}\n${z.prettifyError(parsed.error)}`,
      );
    }
    const { split, ids, prompt } = parsed.data;
    splits[split].push(spelled(tokenizer, ids, prompt));
  }
  const train = distinctPrompts(splits.train);
  const learned = new Set(train.map((p) => p.ids.join(",")));
  const test = distinctPrompts(splits.test).filter((p) => !learned.has(p.ids.join(",")));
  if (train.length > 0 && test.length > 0) return { train, test };
  throw new ConfigError(
    `${path}: expected prompts of both splits, got ${train.length} of train and ${test.length} of test`,
  );
}

function spelled(tokenizer: Tokenizer, ids: number[] | undefined, prompt: string | undefined): Prompt {
  const text = ids && tokenizer.decode(ids, { skipSpecialTokens: true });
  return ids && text !== undefined && (prompt === undefined || prompt === text)
    ? { ids, text }
    : promptOf(prompt ?? "", tokenizer);
}
