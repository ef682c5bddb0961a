/** Every model family, and how to find the one that a `config.json` means. */
import { FormatError } from "../src/errors.ts";
import type { ModelFamily } from "./family.ts";
import { bert } from "./bert.ts";
import { distilbert } from "./distilbert.ts";
import { gpt2 } from "./gpt2.ts";
import { gptNeox } from "./gpt-neox.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { roberta } from "./roberta.ts";

/** The families, by their Hugging Face `model_type`. */
export const families: readonly ModelFamily[] = [
  gpt2,
  gptNeox,
  llama,
  mistral,
  qwen2,
  qwen3,
  distilbert,
  bert,
  roberta,
];

/** What a model's last layer gives: logits of the next token, or a classifier's scores. */
export type ModelKind = "lm" | "scalar";

/**
 * The family of a `config.json`, by `model_type`, else by `architectures`.
 * @param where the file's path, for the error
 * @throws FormatError when no family fits, naming the known ones
 */
export function modelFamily(json: Readonly<Record<string, unknown>>, where = "config.json"): ModelFamily {
  const { model_type: type } = json;
  const classes = classesOf(json);
  const found = families.find(({ name, architectures: { lm, scalar } }) =>
    typeof type === "string" ? name === type : classes.includes(lm) || classes.includes(scalar),
  );
  if (found) return found;
  const got = typeof type === "string" ? `"${type}"` : `none, with architectures [${classes.join(", ")}]`;
  const known = families.map(({ name }) => `"${name}"`).join(", ");
  throw new FormatError(`${where}: model_type is ${got}; the known families are ${known}`);
}

/**
 * Whether a `config.json` describes a language model (also where it does not say) or a classifier.
 * @throws FormatError when it names a class that is neither
 */
export function modelKind(json: Readonly<Record<string, unknown>>, where = "config.json"): ModelKind {
  const { lm, scalar } = modelFamily(json, where).architectures;
  const classes = classesOf(json);
  if (classes.includes(scalar)) return "scalar";
  if (classes.length === 0 || classes.includes(lm)) return "lm";
  throw new FormatError(`${where}: architectures is [${classes.join(", ")}]; expected ${lm} or ${scalar}`);
}

function classesOf({ architectures }: Readonly<Record<string, unknown>>): string[] {
  return Array.isArray(architectures) ? architectures.filter((name) => typeof name === "string") : [];
}
