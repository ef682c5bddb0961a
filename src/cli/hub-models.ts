/** Settings that name a model on the Hugging Face hub: fetched before the command begins, which sees a folder. */
import { kindOf } from "../data/files.ts";
import { fetchModel, hubName } from "../data/hub.ts";
import type { Io } from "./verb.ts";

/** The settings that take a model's folder. */
const MODEL_KEYS: readonly string[] = ["model", "policy", "reference", "reward", "evalReward"];

/**
 * `config` with `owner/name[@revision]` replaced by the folder of that model in the cache. What is on disk goes first.
 * @throws ConfigError, FormatError as {@link fetchModel}
 */
export async function withHubModels(
  config: Readonly<Record<string, unknown>>,
  io: Io,
): Promise<Readonly<Record<string, unknown>>> {
  const found: Record<string, unknown> = {};
  for (const key of MODEL_KEYS) {
    const spec = config[key];
    if (typeof spec !== "string" || (await kindOf(spec)) !== "nothing") continue;
    const model = hubName(spec);
    if (model) found[key] = await fetchShown(model, io);
  }
  return { ...config, ...found };
}

async function fetchShown(model: NonNullable<ReturnType<typeof hubName>>, io: Io): Promise<string> {
  let shown: { file: string; bar: ReturnType<Io["progress"]> } | undefined;
  const mebibytes = (bytes: number): number => Math.ceil(bytes / 2 ** 20);
  try {
    return await fetchModel(model, {
      signal: io.signal,
      onNote: (text) => io.note(text),
      onProgress(file, done, total) {
        if (shown?.file !== file) {
          shown?.bar.stop();
          shown = { file, bar: io.progress({ label: file, total: mebibytes(total), unit: "MiB" }) };
        }
        shown.bar.update(mebibytes(done), file);
      },
    });
  } finally {
    shown?.bar.stop();
  }
}
