/** Where models and tokenizers are read from: a folder of files, on disk, behind an address, or in memory. */
import { ConfigError, FormatError } from "../errors.ts";
import { nodeModule } from "../host.ts";
import { exists, join, kindOf, openFile } from "./files.ts";
import { blobReader, type FileReader } from "./reader.ts";
import { findUrl, openUrl } from "./web.ts";

/**
 * A place to read from: a path of the disk (Node, Deno, Bun); an address, of a folder unless it ends in ".bin", such as
 * `new URL("https://huggingface.co/OWNER/NAME/resolve/main/")`; or files by name, such as those that a user has chosen in a page.
 */
export type Place = string | URL | Readonly<Record<string, Blob>>;

/** Files that lie side by side. */
export interface Folder {
  /** What messages call it. */
  readonly path: string;
  /** What messages call a file of it. */
  at(name: string): string;
  /** The file of this name; undefined where there is none. */
  find(name: string): Promise<FileReader | undefined>;
  /** The file of this name. Throws FormatError when there is none. */
  open(name: string): Promise<FileReader>;
}

/** What is at a place. */
export interface Located {
  readonly folder: Folder;
  /** The file that the place names, where that is not the folder. */
  readonly file?: FileReader;
}

/**
 * What is at `place`.
 * @throws FormatError when there is nothing on the disk, or no file behind the address of one; ConfigError for a path in a browser
 */
export async function locate(place: Place): Promise<Located> {
  if (typeof place === "string" && !/^https?:\/\//.test(place)) return onDisk(place);
  if (typeof place === "string" || place instanceof URL) return behind(new URL(place));
  return { folder: inMemory(checked(place)) };
}

function checked(files: Readonly<Record<string, unknown>>): Readonly<Record<string, Blob>> {
  const wrong = Object.entries(files ?? { nothing: undefined }).find(([, file]) => !(file instanceof Blob));
  if (!wrong) return files as Record<string, Blob>;
  throw new ConfigError(
    `files: expected a path, an address (a URL) or files by name, got ${wrong[0]}: ${typeof wrong[1]}`,
  );
}

/** The folder at `place`, which must not be a file. */
export async function folderAt(place: Place): Promise<Folder> {
  const { folder, file } = await locate(place);
  if (file) throw new FormatError(`${file.path}: expected a folder, got a file`);
  return folder;
}

/** The first of `names` that is in `folder`. */
export async function findFirst(folder: Folder, names: readonly string[]): Promise<FileReader | undefined> {
  for (const name of names) {
    const file = await folder.find(name);
    if (file) return file;
  }
  return undefined;
}

/** Texts by name as files that {@link locate} takes. */
export const blobsOf = (texts: Readonly<Record<string, string>>): Record<string, Blob> =>
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, new Blob([text])]));

async function onDisk(path: string): Promise<Located> {
  const { dirname } = nodeModule("node:path");
  const kind = await kindOf(path);
  if (kind === "nothing") throw new FormatError(`${path}: no such file or folder; check the path`);
  return kind === "folder"
    ? { folder: diskFolder(path) }
    : { folder: diskFolder(dirname(path)), file: await openFile(path) };
}

function diskFolder(path: string): Folder {
  const at = (name: string): string => join(path, name);
  return {
    path,
    at,
    find: async (name) => ((await exists(at(name))) ? openFile(at(name)) : undefined),
    open: (name) => openFile(at(name)),
  };
}

async function behind(url: URL): Promise<Located> {
  if (url.protocol === "file:") return onDisk(nodeModule("node:url").fileURLToPath(url));
  if (url.pathname.endsWith(".bin"))
    return {
      folder: webFolder(new URL(".", url)),
      file: await openUrl(url, url.pathname.split("/").at(-1)!),
    };
  const base = new URL(url);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return { folder: webFolder(base) };
}

function webFolder(base: URL): Folder {
  // Encoded: names come from checkpoints, and may not lead elsewhere.
  const urlOf = (name: string): URL => new URL(encodeURIComponent(name), base);
  return {
    path: base.href,
    at: (name) => urlOf(name).href,
    find: (name) => findUrl(urlOf(name), name),
    open: (name) => openUrl(urlOf(name), name),
  };
}

function inMemory(files: Readonly<Record<string, Blob>>): Folder {
  const find = async (name: string): Promise<FileReader | undefined> =>
    Object.hasOwn(files, name) ? blobReader(name, name, files[name]!) : undefined;
  return {
    path: "files",
    at: (name) => name,
    find,
    async open(name) {
      const file = await find(name);
      if (file) return file;
      throw new FormatError(
        `${name}: expected it among the files, got ${Object.keys(files).join(", ") || "none"}`,
      );
    },
  };
}
