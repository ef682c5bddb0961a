/** The demo's reward model reads the tokens that its policy writes: then it is where the value function starts. */
import { join } from "node:path";
import { loadScalarModel } from "../../../models/load.ts";
import { kindOf, readText } from "../../data/files.ts";
import type { Device } from "../../gpu/device.ts";
import type { ScalarModel } from "../../nn/lm.ts";

/**
 * The model behind the reward `spec`, where it has the tokenizer of the policy in `folder` and a context of `positions`
 * tokens; else undefined, and the value function starts from the reference.
 */
export async function valueStart(
  device: Device,
  folder: string,
  spec: string,
  positions: number,
): Promise<ScalarModel | undefined> {
  const files = [folder, spec].map((path) => join(path, "tokenizer.json"));
  const kinds = await Promise.all(files.map(kindOf));
  if (kinds.some((kind) => kind !== "file")) return undefined;
  const [ours, theirs] = await Promise.all(files.map(readText));
  if (ours !== theirs) return undefined;
  const model = await loadScalarModel(device, spec, { trainable: false });
  return model.reads === "last" && model.config.blockSize >= positions ? model : undefined;
}
