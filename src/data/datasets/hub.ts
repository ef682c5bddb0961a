/**
 * Datasets from the Hugging Face hub, by the addresses that its Python tools, pandas and DuckDB share:
 * `hf://datasets/owner/name[@revision][/path]`, where the path is a file, a pattern or a folder.
 */
import { ConfigError } from "../../errors.ts";
import { exists } from "../files.ts";
import { hubCacheFolder, RepoCache } from "../hub/cache.ts";
import { COMMIT, type HubEvents, type HubRepo, isRepoName, isRevision, titleOf } from "../hub/client.ts";
import { type Fetched, fetchFiles } from "../hub/fetch.ts";
import { globPattern, isGlob, patternOf } from "./glob.ts";
import { chooseFiles } from "./splits.ts";

/** What an address names. */
export interface HubDataset {
  readonly repo: HubRepo;
  /** "" for the whole. */
  readonly path: string;
}

/** A dataset in the cache. */
export interface FetchedDataset {
  /** Its address with the commit and with a path that fits the chosen files and no others: the same data for ever. */
  readonly address: string;
  /** The chosen files on disk, in their order. */
  readonly files: readonly string[];
  /** Whether `split` chose them, and not a path. */
  readonly bySplit: boolean;
}

const SCHEME = "hf://datasets/";
const ADDRESS = /^([^/@]+\/[^/@]+)(?:@(refs\/(?:convert|pr)\/[^/]+|[^/]+))?(?:\/([^]*))?$/;

/** Whether `spec` is meant to be an address on the hub. */
export const isHubData = (spec: string): boolean => spec.startsWith("hf://");

/**
 * What an address names. A revision may have its slashes as `%2F`; `~parquet` is the hub's own conversion, as in DuckDB.
 * @throws ConfigError for one that is malformed
 */
export function hubDataset(spec: string): HubDataset {
  const [, name = "", given = "main", path = ""] = ADDRESS.exec(spec.slice(SCHEME.length)) ?? [];
  const revision = given === "~parquet" ? "refs/convert/parquet" : given.replaceAll(/%2f/gi, "/");
  const inside = !path.split("/").some((part) => part === "." || part === "..");
  if (spec.startsWith(SCHEME) && isRepoName(name) && isRevision(revision) && inside)
    return { repo: { kind: "datasets", name, revision }, path: path.replace(/\/+$/, "") };
  throw new ConfigError(
    `${spec}: expected hf://datasets/OWNER/NAME, then perhaps @REVISION, then perhaps /PATH (models are OWNER/NAME, without hf://)`,
  );
}

/**
 * Fetches the files of a dataset that are not in the cache yet; the environment means what it means to models.
 * @param split of which split, where the address names no file and no pattern
 * @throws ConfigError when it is not there, not open to this token, cannot be reached, or leaves open which files are meant;
 *   FormatError when what comes is not what the hub announced
 */
export async function fetchDataset(
  { repo, path }: HubDataset,
  split: string | undefined,
  events: HubEvents = {},
): Promise<FetchedDataset> {
  const asked = { who: titleOf(repo), path, split };
  const choose = (all: readonly string[]): readonly string[] => chooseFiles(all, asked).files;
  const enough = path === "" || isGlob(path) ? undefined : path;
  const fetched = await fetchFiles(repo, { choose, enough }, events);
  return {
    address: `${titleOf({ ...repo, revision: fetched.commit })}/${exactPattern(fetched)}`,
    files: fetched.files.map((file) => `${fetched.folder}/${file}`),
    bySplit: chooseFiles(fetched.all, asked).bySplit,
  };
}

/** One path for the chosen files. */
function exactPattern({ files, all }: Fetched): string {
  if (files.length === 1) return files[0]!;
  for (const pattern of [patternOf(files), `{${files.join(",")}}`]) {
    const fits = globPattern(pattern);
    const found = all.filter((file) => fits.test(file));
    if (found.length === files.length && files.every((file) => found.includes(file))) return pattern;
  }
  throw new ConfigError(`${files.join(", ")}: no pattern fits these files and no others; expected one file`);
}

/**
 * The files in the cache that an address with a commit stands for: what {@link fetchDataset} has made of another.
 * @throws ConfigError when it has not been fetched
 */
export async function cachedDataset(spec: string): Promise<string[]> {
  const { repo, path } = hubDataset(spec);
  const cache = new RepoCache(hubCacheFolder(), repo);
  const all = (await cache.listing(repo.revision)) ?? [path];
  const files = COMMIT.test(repo.revision) ? chooseFiles(all, { who: spec, path }).files : [];
  const paths = files.map((file) => `${cache.snapshot(repo.revision)}/${file}`);
  const there = await Promise.all(paths.map(exists));
  if (paths.length > 0 && there.every(Boolean)) return paths;
  throw new ConfigError(`${spec}: is not in the cache (${cache.folder}); fetch it first`);
}
