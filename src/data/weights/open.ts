/** The weights of a model, in whichever format they are there: a Hugging Face folder, or a file of llama2.c. */
import { join } from "node:path";
import { exists, kindOf, readJson } from "../files.ts";
import { openLlama2c } from "./llama2c.ts";
import { type Checkpoint, openSafetensors } from "./safetensors.ts";
import { openTorchCheckpoint } from "./torch-checkpoint.ts";

/** What describes a model: `config.json`, or the header of a file of llama2.c. `where` names it in errors. */
export async function readModelConfig(
  path: string,
): Promise<{ readonly where: string; readonly json: unknown }> {
  if ((await kindOf(path)) === "file") return { where: path, json: (await openLlama2c(path)).config };
  const where = join(path, "config.json");
  return { where, json: await readJson(where) };
}

/**
 * Opens the weights of `folder`: safetensors where there are any, else torch's `pytorch_model.bin`; one file or shards. A
 * file is one of llama2.c.
 * @throws FormatError when there are none, or they are corrupt
 */
export async function openWeights(folder: string): Promise<Checkpoint> {
  if ((await kindOf(folder)) === "file") return (await openLlama2c(folder)).checkpoint;
  const has = (name: string): Promise<boolean> => exists(join(folder, name));
  const safe = (await has("model.safetensors")) || (await has("model.safetensors.index.json"));
  for (const name of safe ? [] : ["pytorch_model.bin", "pytorch_model.bin.index.json"]) {
    if (await has(name)) return openTorchCheckpoint(join(folder, name));
  }
  return openSafetensors(folder);
}
