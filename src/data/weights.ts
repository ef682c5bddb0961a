/** The weights of a Hugging Face folder, in whichever format they are there. */
import { join } from "node:path";
import { exists } from "./files.ts";
import { type Checkpoint, openSafetensors } from "./safetensors.ts";
import { openTorchCheckpoint } from "./torch-checkpoint.ts";

/**
 * Opens the weights of `folder`: safetensors where there are any, else torch's `pytorch_model.bin`; one file or shards.
 * @throws FormatError when there are none, or they are corrupt
 */
export async function openWeights(folder: string): Promise<Checkpoint> {
  const has = (name: string): Promise<boolean> => exists(join(folder, name));
  const safe = (await has("model.safetensors")) || (await has("model.safetensors.index.json"));
  for (const name of safe ? [] : ["pytorch_model.bin", "pytorch_model.bin.index.json"]) {
    if (await has(name)) return openTorchCheckpoint(join(folder, name));
  }
  return openSafetensors(folder);
}
