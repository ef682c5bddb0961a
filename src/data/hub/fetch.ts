/** Chosen files of a repository on the hub, fetched where they are not in the cache yet. */
import { ConfigError, messageOf } from "../../errors.ts";
import { exists, kindOf } from "../files.ts";
import { hubCacheFolder, RepoCache } from "./cache.ts";
import {
  COMMIT,
  type HubEvents,
  type HubRepo,
  isOffline,
  listRepo,
  type RepoListing,
  titleOf,
  Unreachable,
} from "./client.ts";
import { download } from "./download.ts";

/** Which files are wanted. */
export interface Wanted {
  /** Of all files of a commit; may throw what is amiss with them. */
  choose(all: readonly string[]): readonly string[];
  /**
   * Without the network, a snapshot that another program fetched will do where it has this file: nobody knows then what
   * else the commit holds.
   */
  readonly enough?: string | undefined;
}

/** Files in the cache. */
export interface Fetched {
  readonly commit: string;
  /** The snapshot's folder. */
  readonly folder: string;
  /** The wanted ones, by their names in the repository. */
  readonly files: readonly string[];
  /** All that the commit holds, as far as that is known. */
  readonly all: readonly string[];
}

/**
 * Fetches what is wanted of `repo` and not here yet. A commit whose files are here asks nobody; where the hub does not answer,
 * what a branch was when it was last fetched will do.
 * @throws ConfigError when the repository is not there, not open to this token, or cannot be reached; FormatError when what
 *   comes is not what the hub announced
 */
export async function fetchFiles(repo: HubRepo, wanted: Wanted, events: HubEvents): Promise<Fetched> {
  const cache = new RepoCache(hubCacheFolder(), repo);
  const pinned = COMMIT.test(repo.revision);
  const known = pinned ? repo.revision : await cache.commitOf(repo.revision);
  const fixed = pinned || isOffline();
  const here = known === undefined ? undefined : await inCache(cache, known, wanted, fixed);
  if (pinned && here) return here;
  if (isOffline()) return here ?? offline(repo, cache, known, wanted);
  const listed = await listRepo(repo).catch((error: unknown) => {
    if (!(error instanceof Unreachable) || !here) throw error;
    events.onNote?.(`${messageOf(error)}; using what was fetched before`);
    return undefined;
  });
  if (!listed) return here!;
  const files = wanted.choose([...listed.files.keys()]);
  await fetchMissing(repo, cache, listed, files, events);
  await cache.setListing(listed.commit, [...listed.files.keys()]);
  if (!pinned) await cache.setRef(repo.revision, listed.commit);
  return fetched(cache, listed.commit, files, [...listed.files.keys()]);
}

async function fetchMissing(
  repo: HubRepo,
  cache: RepoCache,
  { commit, files: blobs }: RepoListing,
  files: readonly string[],
  events: HubEvents,
): Promise<void> {
  for (const file of files) {
    const blob = blobs.get(file)!;
    if (!(await cache.hasBlob(blob))) await download({ repo, cache, events, commit }, file, blob);
    await cache.link(commit, file, blob);
  }
}

const fetched = (
  cache: RepoCache,
  commit: string,
  files: readonly string[],
  all: readonly string[],
): Fetched => ({ commit, folder: cache.snapshot(commit), files, all });

/**
 * What is wanted of a commit, where all of it is here.
 * @param fixed no other commit will be asked for: what is amiss with this one is said, and not passed over
 */
async function inCache(
  cache: RepoCache,
  commit: string,
  { choose }: Wanted,
  fixed: boolean,
): Promise<Fetched | undefined> {
  const all = await cache.listing(commit);
  if (!all) return undefined;
  let files: readonly string[];
  try {
    files = choose(all);
  } catch (error) {
    if (fixed) throw error;
    return undefined;
  }
  const there = await Promise.all(files.map((file) => exists(`${cache.snapshot(commit)}/${file}`)));
  return there.every(Boolean) ? fetched(cache, commit, files, all) : undefined;
}

async function offline(
  repo: HubRepo,
  cache: RepoCache,
  commit: string | undefined,
  { enough }: Wanted,
): Promise<Fetched> {
  if (commit !== undefined && enough !== undefined) {
    const there = await kindOf(`${cache.snapshot(commit)}/${enough}`);
    if (there === "file") return fetched(cache, commit, [enough], [enough]);
  }
  const where = repo.kind === "models" ? "neither a folder here nor in the cache" : "not whole in the cache";
  throw new ConfigError(
    `${titleOf(repo)}: HF_HUB_OFFLINE is set, and it is ${where} (${cache.folder}); fetch it once without that variable`,
  );
}
