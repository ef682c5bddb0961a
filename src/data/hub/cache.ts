/**
 * The Hugging Face cache on disk, laid out as its Python tools do: `models--owner--name/blobs/<hash>`, `snapshots/<commit>/<file>` as
 * links to blobs, `refs/<revision>` with a commit; datasets in `datasets--owner--name`. Ours beside it: `.vbon/<commit>.json`. The second file of `data/` that imports `node:fs`: it appends and links.
 */
import { createHash, type Hash } from "node:crypto";
import { copyFile, open, stat, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { FormatError } from "../../errors.ts";
import { env } from "../../host.ts";
import {
  ensureFolder,
  exists,
  kindOf,
  movePath,
  readJson,
  readPieces,
  readText,
  removeFile,
  writeFileAtomic,
  writing,
} from "../files.ts";

/** Where repositories are kept: HF_HUB_CACHE, else `hub` in HF_HOME, else ~/.cache/huggingface/hub. */
export function hubCacheFolder(): string {
  const home = env("HF_HOME") ?? join(env("XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface");
  return env("HF_HUB_CACHE") ?? join(home, "hub");
}

/** What the hub says of a file: its size, and the hash that its blob is called by. */
export interface BlobInfo {
  readonly bytes: number;
  /** sha256 of a large file (64 digits), git's sha1 of a small one (40). */
  readonly hash: string;
}

/** What a repository holds. */
export type RepoKind = "models" | "datasets";

/** One repository's part of the cache. */
export class RepoCache {
  readonly folder: string;

  constructor(cache: string, { kind, name }: { readonly kind: RepoKind; readonly name: string }) {
    this.folder = join(cache, `${kind}--${name.replace("/", "--")}`);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** The commit that `revision` was when it was last fetched. */
  async commitOf(revision: string): Promise<string | undefined> {
    const path = join(this.folder, "refs", revision);
    return (await kindOf(path)) === "file" ? (await readText(path)).trim() : undefined;
  }

  async setRef(revision: string, commit: string): Promise<void> {
    await writeFileAtomic(join(this.folder, "refs", revision), commit);
  }

  hasBlob({ hash }: BlobInfo): Promise<boolean> {
    return exists(join(this.folder, "blobs", hash));
  }

  /** Makes `file` of a snapshot a link to its blob; a copy where links are not allowed. */
  async link(commit: string, file: string, { hash }: BlobInfo): Promise<void> {
    const path = join(this.snapshot(commit), file);
    if (await exists(path)) return;
    await ensureFolder(dirname(path));
    const blob = join(this.folder, "blobs", hash);
    await removeFile(path);
    await symlink(relative(dirname(path), blob), path).catch(() => writing(path, copyFile(blob, path)));
  }

  /** Keeps the names of all files of a commit: what is wanted can then be chosen again without the hub. */
  async setListing(commit: string, files: readonly string[]): Promise<void> {
    await writeFileAtomic(join(this.folder, ".vbon", `${commit}.json`), JSON.stringify(files));
  }

  /** What {@link setListing} kept. */
  async listing(commit: string): Promise<readonly string[] | undefined> {
    const path = join(this.folder, ".vbon", `${commit}.json`);
    if ((await kindOf(path)) !== "file") return undefined;
    const files = await readJson(path).catch(() => undefined);
    return Array.isArray(files) && files.every((file) => typeof file === "string") ? files : undefined;
  }

  /** Opens the beginning of a blob that an earlier download left, or an empty one. */
  async partial(blob: BlobInfo): Promise<PartialBlob> {
    const path = join(this.folder, "blobs", `${blob.hash}.incomplete`);
    await ensureFolder(dirname(path));
    const hash = startHash(blob);
    let bytes = (await stat(path).catch(() => undefined))?.size ?? 0;
    if (bytes > blob.bytes) bytes = 0;
    if (bytes > 0) for await (const piece of readPieces(path)) hash.update(piece);
    const handle = await writing(path, open(path, bytes > 0 ? "a" : "w"));
    return new PartialBlob(path, blob, handle, hash, bytes);
  }
}

/** A blob that is being written. */
export class PartialBlob {
  bytes: number;
  readonly #path: string;
  readonly #blob: BlobInfo;
  readonly #handle: Awaited<ReturnType<typeof open>>;
  #hash: Hash;

  constructor(
    path: string,
    blob: BlobInfo,
    handle: Awaited<ReturnType<typeof open>>,
    hash: Hash,
    bytes: number,
  ) {
    this.#path = path;
    this.#blob = blob;
    this.#handle = handle;
    this.#hash = hash;
    this.bytes = bytes;
  }

  async append(piece: Uint8Array): Promise<void> {
    await writing(this.#path, this.#handle.appendFile(piece));
    this.#hash.update(piece);
    this.bytes += piece.length;
  }

  /** Begins again: the server does not continue. */
  async restart(): Promise<void> {
    await writing(this.#path, this.#handle.truncate(0));
    this.#hash = startHash(this.#blob);
    this.bytes = 0;
  }

  /** Closes the file; what is there stays for the next try. */
  close(): Promise<void> {
    return this.#handle.close();
  }

  /** Gives the blob its name. @throws FormatError when it is not what the hub announced; then nothing of it is kept */
  async finish(what: string): Promise<void> {
    const got = this.#hash.digest("hex");
    await writing(this.#path, this.#handle.sync());
    await this.#handle.close();
    if (this.bytes === this.#blob.bytes && got === this.#blob.hash) {
      return movePath(this.#path, this.#path.replace(/\.incomplete$/, ""));
    }
    await removeFile(this.#path);
    throw new FormatError(
      `${what}: expected ${this.#blob.bytes} bytes of hash ${this.#blob.hash}, got ${this.bytes} of ${got}; the download was ` +
        "corrupt and is not kept. Try again",
    );
  }
}

/** Git hashes a file behind a header. */
function startHash({ hash, bytes }: BlobInfo): Hash {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${bytes}\0`);
}
