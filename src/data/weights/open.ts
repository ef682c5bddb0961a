/** The weights of a model, in whichever format they are there: a Hugging Face folder, or a file of llama2.c. */
import { findFirst, locate, type Place } from "../folder.ts";
import { jsonOf } from "../reader.ts";
import { readLlama2c } from "./llama2c.ts";
import { type Checkpoint, safetensorsIn, WEIGHTS } from "./safetensors.ts";
import { readTorchCheckpoint } from "./torch-checkpoint.ts";

/** What describes a model: `config.json`, or the header of a file of llama2.c. `where` names it in errors. */
export async function readModelConfig(
  place: Place,
): Promise<{ readonly where: string; readonly json: unknown }> {
  const { folder, file } = await locate(place);
  if (file) return { where: file.path, json: (await readLlama2c(file)).config };
  return { where: folder.at("config.json"), json: await jsonOf(await folder.open("config.json")) };
}

/**
 * Opens the weights at `place`: safetensors where there are any, else torch's `pytorch_model.bin`; one file or shards. A
 * file is one of llama2.c.
 * @throws FormatError when there are none, or they are corrupt
 */
export async function openWeights(place: Place): Promise<Checkpoint> {
  const { folder, file } = await locate(place);
  if (file) return (await readLlama2c(file)).checkpoint;
  const safe = await findFirst(folder, WEIGHTS);
  const torch = !safe && (await findFirst(folder, ["pytorch_model.bin", "pytorch_model.bin.index.json"]));
  return torch ? readTorchCheckpoint(folder, torch) : safetensorsIn(folder, safe);
}
