/** Settings that name a model or a dataset on the Hugging Face hub: fetched before the command begins, which finds them on disk. */
import { z } from "zod";
import { fetchDataset, hubDataset, isHubData } from "../../data/datasets/hub.ts";
import { kindOf } from "../../data/files.ts";
import type { HubEvents } from "../../data/hub/client.ts";
import { fetchModel, hubName } from "../../data/hub/model.ts";
import { ConfigError } from "../../errors.ts";
import type { Io } from "../verb.ts";

/** What the help of a flag for data adds. */
export const ON_DISK_OR_HUB = "a file, a pattern, or hf://datasets/OWNER/NAME[@REVISION][/PATH]";

/** A field for a command that reads data. */
export const splitField: z.ZodOptional<z.ZodString> = z.string().optional().meta({
  description: "of a dataset on the hub, where its files are not named: those of this split (default train)",
  hint: "train|test",
});

/**
 * Refuses a split that nothing on the hub was chosen by.
 * @throws ConfigError
 */
export function refuseSplit(who: string, { split }: { readonly split?: string | undefined }): void {
  if (split === undefined) return;
  throw new ConfigError(
    `${who}: --split ${split} chooses among the files of a dataset, hf://datasets/OWNER/NAME; what is named here is a file already. Leave it out`,
  );
}

type Settings = Readonly<Record<string, unknown>>;

/** The settings that take a model's folder, or several. */
const MODEL_KEYS: readonly string[] = ["model", "models", "policy", "reference", "reward", "evalReward"];

/** Those that take texts, records or prompts: one file, or several that are read as one. */
const DATA_KEYS: readonly string[] = [
  "data",
  "evalData",
  "positive",
  "negative",
  "pairs",
  "input",
  "prompts",
  "documents",
];

/** Those that take a file of our own making. */
const CACHE_KEYS: readonly string[] = ["cache", "evalCache", "westOf"];

/**
 * `config` with what is on the hub fetched. A model, `owner/name[@revision]`, becomes its folder in the cache, where nothing
 * of that name is on disk; a dataset, `hf://datasets/…`, its address with the commit and the files that were chosen; a reward
 * cache in a dataset its file. A `split` that has chosen among the files of a dataset is not there any more.
 * @throws ConfigError, FormatError as {@link fetchModel}, {@link fetchDataset}
 */
export async function withHub(config: Settings, io: Io): Promise<Settings> {
  const models = await fetchModels(config, io);
  const { data, bySplit } = await fetchData(config, io);
  const { split, ...rest } = config;
  return { ...rest, ...(split !== undefined && !bySplit && { split }), ...models, ...data };
}

async function fetchModels(config: Settings, io: Io): Promise<Settings> {
  const found: Record<string, unknown> = {};
  for (const key of MODEL_KEYS) {
    const spec = config[key];
    if (typeof spec === "string") found[key] = await folderOf(spec, io);
    if (!Array.isArray(spec)) continue;
    const folders: string[] = [];
    for (const one of spec as readonly string[]) folders.push(await folderOf(one, io));
    found[key] = folders;
  }
  return found;
}

/** Where a model on the hub was put; what is on disk, or no name on the hub, as it is. */
async function folderOf(spec: string, io: Io): Promise<string> {
  const model = (await kindOf(spec)) === "nothing" ? hubName(spec) : undefined;
  return model ? shown(io, (events) => fetchModel(model, events)) : spec;
}

async function fetchData(config: Settings, io: Io): Promise<{ data: Settings; bySplit: boolean }> {
  const data: Record<string, unknown> = {};
  let bySplit = false;
  for (const key of [...DATA_KEYS, ...CACHE_KEYS]) {
    const spec = config[key];
    if (typeof spec !== "string" || !isHubData(spec)) continue;
    const asked = typeof config["split"] === "string" ? config["split"] : undefined;
    const held = key === "evalData";
    const split = held ? "test" : asked;
    const dataset = await shown(io, (events) => fetchDataset(hubDataset(spec), split, events));
    if (dataset.address !== spec) io.note(`${spec}: ${dataset.address}`);
    bySplit ||= !held && dataset.bySplit;
    data[key] = CACHE_KEYS.includes(key) ? oneFile(spec, dataset.files) : dataset.address;
  }
  return { data, bySplit };
}

function oneFile(spec: string, [file, ...more]: readonly string[]): string {
  if (file !== undefined && more.length === 0) return file;
  throw new ConfigError(`${spec}: is ${more.length + 1} files; expected a reward cache, which is one`);
}

/** Shows how far each file is. */
async function shown<T>(io: Io, fetch: (events: HubEvents) => Promise<T>): Promise<T> {
  let bar: { file: string; progress: ReturnType<Io["progress"]> } | undefined;
  const mebibytes = (bytes: number): number => Math.ceil(bytes / 2 ** 20);
  try {
    return await fetch({
      signal: io.signal,
      onNote: (text) => io.note(text),
      onProgress(file, done, total) {
        if (bar?.file !== file) {
          bar?.progress.stop();
          bar = { file, progress: io.progress({ label: file, total: mebibytes(total), unit: "MiB" }) };
        }
        bar.progress.update(mebibytes(done), file);
      },
    });
  } finally {
    bar?.progress.stop();
  }
}
