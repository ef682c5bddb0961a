/**
 * Models from the Hugging Face hub: what a model needs is fetched into the cache that the Python tools share.
 *
 * Why not `@huggingface/hub` (read at 2.17.5): its `snapshotDownload` fetches every file of a repository, all formats of the weights;
 * `downloadFileToCacheDir` begins a broken download anew, gives a blob the name of its hash without computing it, counts no bytes,
 * hears no abort signal, tries once, and says what it does with `console.debug`, on stdout, where results go. There is no offline mode. Each of
 * these is what makes up this file; the layout of the cache, which it does have, is the short one of hub-cache.ts.
 */
import { ConfigError, FormatError, messageOf, UserError } from "../errors.ts";
import { env } from "../host.ts";
import { exists } from "./files.ts";
import { type BlobInfo, hubCacheFolder, ModelCache, type PartialBlob } from "./hub-cache.ts";
import { isRecord } from "./json.ts";

/** A model on the hub. */
export interface HubModel {
  /** "owner/name" */
  readonly name: string;
  /** A branch, a tag, or a commit. */
  readonly revision: string;
}

/** Who hears what is going on. */
export interface HubEvents {
  /** Bytes of `file` that are here, of all that it has. */
  onProgress?(file: string, done: number, total: number): void;
  onNote?(text: string): void;
  readonly signal?: AbortSignal;
  /** Milliseconds without a byte after which a connection counts as broken; 60 000 by default. */
  readonly idle?: number;
}

const NAME = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;
const COMMIT = /^[0-9a-f]{40}$/;

/** `owner/name[@revision]`, or undefined where `spec` is no such name. */
export function hubName(spec: string): HubModel | undefined {
  const [name = "", revision = "main", ...more] = spec.split("@");
  const good = NAME.test(name) && !/\.\.|--/.test(name) && !/\.(mjs|cjs|js|mts|ts|jsonl?)$/.test(name);
  const goodRevision = /^[\w][\w./-]*$/.test(revision) && !revision.includes("..");
  return good && goodRevision && more.length === 0 ? { name, revision } : undefined;
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
  const cache = new ModelCache(hubCacheFolder(), model.name);
  const pinned = COMMIT.test(model.revision);
  const known = pinned ? model.revision : await cache.commitOf(model.revision);
  const here = known !== undefined && (await cache.isComplete(known));
  if (pinned && here) return cache.snapshot(known);
  if (/^(1|true|yes|on)$/i.test(env("HF_HUB_OFFLINE") ?? "")) return offline(model, cache, known);
  const listed = await list(model).catch((error: unknown) => {
    if (!(error instanceof Unreachable) || !here) throw error;
    events.onNote?.(`${messageOf(error)}; using what was fetched before`);
    return undefined;
  });
  if (!listed) return cache.snapshot(known!);
  for (const [file, blob] of listed.files) {
    if (!(await cache.hasBlob(blob))) await download({ model, cache, events, ...listed }, file, blob);
    await cache.link(listed.commit, file, blob);
  }
  await cache.markComplete(listed.commit);
  if (!pinned) await cache.setRef(model.revision, listed.commit);
  return cache.snapshot(listed.commit);
}

/** Without the network a snapshot counts that has a config, whoever fetched it. */
async function offline(model: HubModel, cache: ModelCache, commit: string | undefined): Promise<string> {
  if (commit !== undefined && (await exists(`${cache.snapshot(commit)}/config.json`)))
    return cache.snapshot(commit);
  throw new ConfigError(
    `${model.name}@${model.revision}: HF_HUB_OFFLINE is set, and it is neither a folder here nor in the cache (${cache.folder}); fetch it once without that variable`,
  );
}

/** The hub did not answer. */
class Unreachable extends ConfigError {}

const endpoint = (): string => (env("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");

async function request(
  { name, revision }: HubModel,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<Response> {
  const token = env("HF_TOKEN");
  const all = { ...headers, ...(token && { authorization: `Bearer ${token}` }) };
  const who = `${name}@${revision}`;
  let response: Response;
  try {
    response = await fetch(`${endpoint()}/${path}`, { headers: all, ...(signal && { signal }) });
  } catch (error) {
    throw new Unreachable(
      `${who}: there is no such folder here, and ${endpoint()} does not answer (${causeOf(error)}); check the path, or the network`,
    );
  }
  const { status } = response;
  if (response.ok || status === 416) return response;
  await response.body?.cancel();
  if (status === 401 || status === 403)
    throw new ConfigError(
      `${who}: ${endpoint()} refuses access (${status}): there is no such model, or it is private or gated; ` +
        `${token ? "the token in HF_TOKEN does not open it" : "set HF_TOKEN to a token that may read it"}`,
    );
  if (status === 404)
    throw new ConfigError(
      `${who}: there is no such folder here, and no such model or revision at ${endpoint()} (404)`,
    );
  throw new Unreachable(`${who}: ${endpoint()} answers ${status}; try again later`);
}

const causeOf = (error: unknown): string =>
  messageOf(error instanceof Error && error.cause !== undefined ? error.cause : error);

interface Listed {
  readonly commit: string;
  readonly files: ReadonlyMap<string, BlobInfo>;
}

/** The commit of a revision, and those of its files that a model needs. */
async function list(model: HubModel): Promise<Listed> {
  const { name, revision } = model;
  const path = `api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const json: unknown = await (await request(model, path)).json().catch(() => undefined);
  const [commit, siblings] = isRecord(json) ? [json["sha"], json["siblings"]] : [];
  if (typeof commit !== "string" || !COMMIT.test(commit) || !Array.isArray(siblings))
    throw new FormatError(`${name}: ${endpoint()} does not answer as the hub does; check HF_ENDPOINT`);
  const all = new Map(siblings.map((sibling) => fileOf(model, sibling)));
  const weights = WEIGHTS.map((form) => [...all.keys()].filter((file) => form.test(file)));
  const chosen = weights.find((files) => files.length > 0);
  if (!all.has("config.json") || !chosen)
    throw new FormatError(
      `${name}@${revision}: expected config.json and model.safetensors or pytorch_model.bin (or shards), it has ${[...all.keys()].slice(0, 8).join(", ")}`,
    );
  const files = [...all.keys()].filter((file) => SMALL_FILES.has(file) || chosen.includes(file));
  return { commit, files: new Map(files.map((file) => [file, all.get(file)!])) };
}

function fileOf({ name }: HubModel, sibling: unknown): readonly [string, BlobInfo] {
  const record = isRecord(sibling) ? sibling : {};
  const file = record["rfilename"];
  const lfs = isRecord(record["lfs"]) ? record["lfs"] : {};
  const hash = lfs["sha256"] ?? record["blobId"];
  const bytes = lfs["size"] ?? record["size"];
  const inside = typeof file === "string" && !/^[/\\]|\\|:|(^|\/)\.\.?(\/|$)|\0/.test(file) && file !== "";
  if (!inside)
    throw new FormatError(
      `${name}: the hub lists a file ${JSON.stringify(file)}, which is outside the model's folder; nothing was fetched`,
    );
  const good = typeof hash === "string" && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash);
  if (!good || !Number.isSafeInteger(bytes) || (bytes as number) < 0)
    throw new FormatError(`${name}: the hub gives no hash and size of ${file}; nothing was fetched`);
  return [file, { hash, bytes: bytes as number }];
}

interface Source {
  readonly model: HubModel;
  readonly cache: ModelCache;
  readonly events: HubEvents;
  readonly commit: string;
}

/** Tries in a row that bring no byte before a download is given up. */
const TRIES = 4;

/** Fetches one file, going on where a broken connection, or an earlier process, has left it. */
async function download(source: Source, file: string, blob: BlobInfo): Promise<void> {
  const { model, cache } = source;
  const what = `${model.name}/${file}`;
  const partial = await cache.partial(blob);
  let failed = 0;
  try {
    while (partial.bytes < blob.bytes) {
      const before = partial.bytes;
      const broken = await receive(source, file, blob, partial).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (source.events.signal?.aborted)
        throw new ConfigError(`${what}: stopped; the next try goes on there`);
      if (broken instanceof UserError && !(broken instanceof Unreachable)) throw broken;
      failed = partial.bytes > before ? 0 : failed + 1;
      if (failed >= TRIES)
        throw new Unreachable(
          `${what}: the connection broke ${TRIES} times at byte ${partial.bytes} of ${blob.bytes} (${causeOf(broken)}); try again, the download goes on there`,
        );
      if (failed > 0) await new Promise((resolve) => setTimeout(resolve, 100 * 3 ** failed));
    }
  } catch (error) {
    await partial.close();
    throw error;
  }
  await partial.finish(what);
}

async function receive(source: Source, file: string, blob: BlobInfo, partial: PartialBlob): Promise<void> {
  const { model, commit, events } = source;
  const broken = new AbortController();
  const signal = events.signal ? AbortSignal.any([broken.signal, events.signal]) : broken.signal;
  const idle = (): ReturnType<typeof setTimeout> =>
    setTimeout(() => broken.abort(new Error("no byte came")), events.idle ?? 60_000);
  let timer = idle();
  try {
    const path = `${model.name}/resolve/${commit}/${file.split("/").map(encodeURIComponent).join("/")}`;
    const range = { range: `bytes=${partial.bytes}-` };
    const response = await request(model, path, partial.bytes > 0 ? range : {}, signal);
    const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (partial.bytes > 0 && (response.status !== 206 || Number(start) !== partial.bytes))
      await partial.restart();
    if (response.status === 416) return void (await response.body?.cancel());
    for await (const piece of response.body ?? []) {
      clearTimeout(timer);
      timer = idle();
      if (partial.bytes + piece.length > blob.bytes) {
        await partial.append(piece); // `finish` will refuse it
        return;
      }
      await partial.append(piece);
      events.onProgress?.(file, partial.bytes, blob.bytes);
    }
  } finally {
    clearTimeout(timer);
  }
}
