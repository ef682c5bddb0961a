/** The Hugging Face hub over HTTP: a request with what its answers mean, and the files of a repository. */
import { ConfigError, FormatError, messageOf } from "../../errors.ts";
import { env } from "../../host.ts";
import { isRecord } from "../json.ts";
import type { BlobInfo, RepoKind } from "./cache.ts";

/** A repository at a revision. */
export interface HubRepo {
  readonly kind: RepoKind;
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

/** What a commit holds. */
export interface RepoListing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, BlobInfo>;
}

/** The hub did not answer. */
export class Unreachable extends ConfigError {}

/** A commit's whole name. */
export const COMMIT: RegExp = /^[0-9a-f]{40}$/;

/** Whether `text` can be the name of a repository, "owner/name". */
export const isRepoName = (text: string): boolean =>
  /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(text) && !/\.\.|--/.test(text);

/** Whether `text` can be a branch, a tag or a commit. */
export const isRevision = (text: string): boolean => /^[\w][\w./-]*$/.test(text) && !text.includes("..");

/** A repository at a revision as messages call it, and as a flag takes it. */
export function titleOf({ kind, name, revision }: HubRepo): string {
  if (kind === "models") return `${name}@${revision}`;
  const plain = /^refs\/(convert|pr)\/[^/]+$/.test(revision);
  return `hf://datasets/${name}@${plain ? revision : revision.replaceAll("/", "%2F")}`;
}

/** Whether HF_HUB_OFFLINE says that nobody is to be asked. */
export const isOffline = (): boolean => /^(1|true|yes|on)$/i.test(env("HF_HUB_OFFLINE") ?? "");

const endpoint = (): string => (env("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");

const nounOf = ({ kind }: HubRepo): string => (kind === "models" ? "model" : "dataset");

/** A model's name may be a folder that is not there. */
const orFolder = ({ kind }: HubRepo): string =>
  kind === "models" ? "there is no such folder here, and " : "";

/**
 * Asks the hub for `path`, with the token in HF_TOKEN where there is one.
 * @throws ConfigError when the repository is not there, or not open to this token; {@link Unreachable} when nobody answers
 */
export async function request(
  repo: HubRepo,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<Response> {
  const token = env("HF_TOKEN");
  const all = { ...headers, ...(token && { authorization: `Bearer ${token}` }) };
  let response: Response;
  try {
    response = await fetch(`${endpoint()}/${path}`, { headers: all, ...(signal && { signal }) });
  } catch (error) {
    throw new Unreachable(
      `${titleOf(repo)}: ${orFolder(repo)}${endpoint()} does not answer (${causeOf(error)}); check the ${repo.kind === "models" ? "path, or the " : ""}network`,
    );
  }
  if (response.ok || response.status === 416) return response;
  await response.body?.cancel();
  throw refusal(repo, response.status, Boolean(token));
}

function refusal(repo: HubRepo, status: number, hasToken: boolean): ConfigError {
  const [who, noun] = [titleOf(repo), nounOf(repo)];
  if (status === 401 || status === 403)
    return new ConfigError(
      `${who}: ${endpoint()} refuses access (${status}): there is no such ${noun}, or it is private or gated; ` +
        (hasToken
          ? "the token in HF_TOKEN does not open it; a gated one asks you to accept its terms on its page first"
          : "set HF_TOKEN to a token that may read it"),
    );
  if (status === 404)
    return new ConfigError(
      `${who}: ${orFolder(repo)}${orFolder(repo) ? "" : "there is "}no such ${noun} or revision at ${endpoint()} (404)`,
    );
  return new Unreachable(`${who}: ${endpoint()} answers ${status}; try again later`);
}

/** What stopped a request. */
export const causeOf = (error: unknown): string =>
  messageOf(error instanceof Error && error.cause !== undefined ? error.cause : error);

/** Where a file of a commit is. */
export const filePath = ({ kind, name }: HubRepo, commit: string, file: string): string =>
  `${kind === "models" ? "" : `${kind}/`}${name}/resolve/${commit}/${file.split("/").map(encodeURIComponent).join("/")}`;

/**
 * The commit of a revision, and its files.
 * @throws ConfigError as {@link request}; FormatError when the answer is not the hub's, or names a file outside the repository
 */
export async function listRepo(repo: HubRepo): Promise<RepoListing> {
  const { kind, name, revision } = repo;
  const path = `api/${kind}/${name}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const json: unknown = await (await request(repo, path)).json().catch(() => undefined);
  const [commit, siblings] = isRecord(json) ? [json["sha"], json["siblings"]] : [];
  if (typeof commit !== "string" || !COMMIT.test(commit) || !Array.isArray(siblings))
    throw new FormatError(`${name}: ${endpoint()} does not answer as the hub does; check HF_ENDPOINT`);
  return { commit, files: new Map(siblings.map((sibling) => fileOf(repo, sibling))) };
}

function fileOf(repo: HubRepo, sibling: unknown): readonly [string, BlobInfo] {
  const { name } = repo;
  const record = isRecord(sibling) ? sibling : {};
  const file = record["rfilename"];
  const lfs = isRecord(record["lfs"]) ? record["lfs"] : {};
  const hash = lfs["sha256"] ?? record["blobId"];
  const bytes = lfs["size"] ?? record["size"];
  const inside =
    typeof file === "string" && !/^\/|^[a-z]:|\\|(^|\/)\.\.?(\/|$)|\0/i.test(file) && file !== "";
  if (!inside)
    throw new FormatError(
      `${name}: the hub lists a file ${JSON.stringify(file)}, which is outside the ${nounOf(repo)}'s folder; nothing was fetched`,
    );
  const good = typeof hash === "string" && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash);
  if (!good || !Number.isSafeInteger(bytes) || (bytes as number) < 0)
    throw new FormatError(`${name}: the hub gives no hash and size of ${file}; nothing was fetched`);
  return [file, { hash, bytes: bytes as number }];
}
