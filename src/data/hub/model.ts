/**
 * Models from the Hugging Face hub: what a model needs is fetched into the cache that the Python tools share.
 *
 * Why not `@huggingface/hub` (read at 2.17.5): its `snapshotDownload` fetches every file of a repository, all formats of the weights;
 * `downloadFileToCacheDir` begins a broken download anew, gives a blob the name of its hash without computing it, counts no bytes,
 * hears no abort signal, tries once, and says what it does with `console.debug`, on stdout, where results go. There is no offline mode. Each of
 * these is what makes up fetch.ts, client.ts and download.ts; the layout of the cache, which it does have, is the short one of cache.ts.
 */
import { FormatError } from "../../errors.ts";
import { type HubEvents, type HubRepo, isRepoName, isRevision, titleOf } from "./client.ts";
import { fetchFiles } from "./fetch.ts";

/** A model on the hub. */
export type HubModel = Pick<HubRepo, "name" | "revision">;

/** `owner/name[@revision]`, or undefined where `spec` is no such name. */
export function hubName(spec: string): HubModel | undefined {
  const [name = "", revision = "main", ...more] = spec.split("@");
  const good = isRepoName(name) && !/\.(mjs|cjs|js|mts|ts|jsonl?)$/.test(name);
  return good && isRevision(revision) && more.length === 0 ? { name, revision } : undefined;
}

/** Files beside the weights, where a model has them. */
const SMALL_FILES: ReadonlySet<string> = new Set([
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "vocab.txt",
]);

/** Forms of weights, the best first. */
const WEIGHTS: readonly RegExp[] = [
  /^model\.safetensors$/,
  /^model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)$/,
  /^pytorch_model\.bin$/,
  /^pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)$/,
];

/**
 * The folder of a model, fetched where it is not in the cache yet: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the cache's
 * variables mean what they mean elsewhere.
 * @throws ConfigError when the model is not there, not open to this token, or cannot be reached; FormatError when what comes is
 *   not what the hub announced
 */
export async function fetchModel(model: HubModel, events: HubEvents = {}): Promise<string> {
  const repo: HubRepo = { kind: "models", name: model.name, revision: model.revision };
  const choose = (all: readonly string[]): readonly string[] => modelFiles(repo, all);
  return (await fetchFiles(repo, { choose, enough: "config.json" }, events)).folder;
}

/** Of all files those that a model needs. */
function modelFiles(repo: HubRepo, all: readonly string[]): readonly string[] {
  const weights = WEIGHTS.map((form) => all.filter((file) => form.test(file)));
  const chosen = weights.find((files) => files.length > 0);
  if (!all.includes("config.json") || !chosen)
    throw new FormatError(
      `${titleOf(repo)}: expected config.json and model.safetensors or pytorch_model.bin (or shards), it has ${all.slice(0, 8).join(", ")}`,
    );
  return all.filter((file) => SMALL_FILES.has(file) || chosen.includes(file));
}
