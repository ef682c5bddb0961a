/**
 * Files of the disk, for the floors above: read, replace by rename, append, repair. What the system refuses is a FormatError: a full
 * disk is no bug of ours. Loading this file asks nothing of the runtime: in a browser, which has no disk, its functions throw.
 */
import type { FileHandle } from "node:fs/promises";
import { FormatError, messageOf } from "../errors.ts";
import { nodeModule } from "../host.ts";
import { parseJson } from "./json.ts";
import type { FileReader } from "./reader.ts";

const fs = (): typeof import("node:fs/promises") => nodeModule("node:fs/promises");
const paths = (): typeof import("node:path") => nodeModule("node:path");

/** Parts of a path of the disk as one. */
export const join = (...parts: string[]): string => paths().join(...parts);

let temporaryFiles = 0;

/** True when `path` exists, whatever it is. */
export async function exists(path: string): Promise<boolean> {
  return (await kindOf(path)) !== "nothing";
}

/** What stands at `path`. */
export async function kindOf(path: string): Promise<"file" | "folder" | "nothing"> {
  const { stat } = fs();
  try {
    return (await stat(path)).isDirectory() ? "folder" : "file";
  } catch {
    return "nothing";
  }
}

/**
 * Creates `folder` and its parents where they are missing. Throws FormatError when a file stands in the way.
 * @returns the first folder that it made; undefined where all were there
 */
export async function ensureFolder(folder: string): Promise<string | undefined> {
  try {
    return await fs().mkdir(folder, { recursive: true });
  } catch (error) {
    throw refused(`${folder}: cannot make the folder`, error);
  }
}

/** Removes `folder` and its parents up to `first`, as far as they are empty. */
export async function removeEmptyFolders(folder: string, first: string): Promise<void> {
  const shortest = paths().resolve(first).length;
  try {
    for (let at = paths().resolve(folder); at.length >= shortest; at = paths().dirname(at))
      await fs().rmdir(at);
  } catch {
    // Something is in it.
  }
}

/**
 * The files of `folder`, and with `deep` of those below it, sorted: their paths from there, with "/". None where it is no folder.
 * A link counts as a file, whatever it leads to.
 */
export async function listFiles(folder: string, deep: boolean): Promise<string[]> {
  const entries = await fs()
    .readdir(folder, { withFileTypes: true })
    .catch(() => []);
  const found = entries.map(async (entry) => {
    if (!entry.isDirectory()) return [entry.name];
    if (!deep) return [];
    return (await listFiles(join(folder, entry.name), deep)).map((file) => `${entry.name}/${file}`);
  });
  return (await Promise.all(found)).flat().toSorted();
}

/** The whole text of a UTF-8 file. Throws FormatError when it cannot be read. */
export async function readText(path: string): Promise<string> {
  try {
    return await fs().readFile(path, "utf8");
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** The value in a JSON file. Throws FormatError: missing file, or malformed JSON with its line and column. */
export async function readJson(path: string): Promise<unknown> {
  return parseJson(await readText(path), path);
}

/** The file at `path`, opened for each read. Throws FormatError when there is none, or something else. */
export async function openFile(path: string): Promise<FileReader> {
  const info = await fs()
    .stat(path)
    .catch((error: unknown) => Promise.reject(unreadable(path, error)));
  if (!info.isFile()) throw new FormatError(`${path}: expected a file, got a folder or a device`);
  return {
    path,
    name: paths().basename(path),
    size: info.size,
    async read(into, position) {
      const handle = await openToRead(path);
      try {
        await readFully(handle, path, into, position);
      } finally {
        await handle.close();
      }
    },
  };
}

/** The bytes of `path` in order, in pieces of at most `pieceBytes`. Throws FormatError when it cannot be read. */
export async function* readPieces(path: string, pieceBytes: number = 1 << 20): AsyncGenerator<Uint8Array> {
  const handle = await openToRead(path);
  try {
    for (;;) {
      const { bytesRead, buffer } = await handle.read(new Uint8Array(pieceBytes), 0, pieceBytes);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } catch (error) {
    throw error instanceof FormatError ? error : unreadable(path, error);
  } finally {
    await handle.close();
  }
}

/**
 * Writes `path` so that a reader, or a crash, sees the old content or the new one and never a half: `write` fills a
 * temporary file in the same folder, which is synced and renamed. When `write` throws, the old file stays.
 */
export async function replaceFile(
  path: string,
  write: (append: (data: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  await expectReplaceable(path);
  const folder = paths().dirname(paths().resolve(path));
  await ensureFolder(folder);
  const temporary = join(folder, `.${paths().basename(path)}.${process.pid}.${temporaryFiles++}.tmp`);
  try {
    await fillAndSync(temporary, write);
    await fs().rename(temporary, path);
  } catch (error) {
    await fs()
      .rm(temporary, { force: true })
      .catch(() => undefined);
    throw unwritable(path, error);
  }
}

/** A rename would put a file in the place of whatever is there: as root, of /dev/null too. */
async function expectReplaceable(path: string): Promise<void> {
  const there = await fs()
    .stat(path)
    .catch(() => undefined);
  if (!there || there.isFile()) return;
  const what = there.isDirectory() ? "a folder" : "a device or a pipe";
  throw new FormatError(`${path}: expected a file's name, there is ${what}; choose another`);
}

/** Makes the file `path` with this content. Answers false, and changes nothing, where something has that name. */
export async function createFile(path: string, text: string): Promise<boolean> {
  try {
    await fs().writeFile(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw unwritable(path, error);
  }
}

/** Replaces the content of `path` by `data` (see {@link replaceFile}). */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  await replaceFile(path, (append) => append(bytes));
}

/** Writes each text into the file of its name in `folder`, which is made where it is missing. */
export async function writeTexts(folder: string, texts: Readonly<Record<string, string>>): Promise<void> {
  await ensureFolder(folder);
  for (const [name, text] of Object.entries(texts)) await writeFileAtomic(join(folder, name), text);
}

/** Appends `line` and a newline to `path`, after {@link repairTornLine}. `line` itself holds no newline. */
export async function appendLine(path: string, line: string): Promise<void> {
  const appender = await openAppender(path);
  try {
    await appender.append(line);
  } finally {
    await appender.close();
  }
}

/** A file that grows by lines: for metrics and caches that must survive a kill at any moment. */
export interface Appender {
  /** Writes one line. Throws FormatError when `line` holds a newline: it would be read back as two. */
  append(line: string): Promise<void>;
  close(): Promise<void>;
}

/** Opens `path` for appending, made where missing, its torn last line repaired (see {@link repairTornLine}). */
export async function openAppender(path: string): Promise<Appender> {
  await ensureFolder(paths().dirname(paths().resolve(path)));
  await repairTornLine(path);
  const handle = await writing(path, fs().open(path, "a"));
  return {
    async append(line) {
      if (line.includes("\n")) throw new FormatError(`${path}: a line to append holds a newline`);
      await writing(path, handle.appendFile(`${line}\n`));
    },
    close: () => writing(path, handle.close()),
  };
}

/**
 * Makes a file of lines end in a newline again after a kill in the middle of a write. A last line without its newline is
 * kept and closed when it is a complete JSON object (only the newline was lost), otherwise cut off.
 * Answers the number of bytes cut.
 */
export async function repairTornLine(path: string): Promise<number> {
  if ((await kindOf(path)) !== "file") return 0;
  const handle = await writing(path, fs().open(path, "r+"));
  try {
    const { size } = await handle.stat();
    const torn = await readTail(handle, path, size);
    if (torn.length === 0) return 0;
    if (isJsonObject(new TextDecoder().decode(torn))) {
      await writing(path, handle.write("\n", size));
      return 0;
    }
    await writing(path, handle.truncate(size - torn.length));
    return torn.length;
  } finally {
    await handle.close();
  }
}

/** The bytes after the last newline. */
async function readTail(handle: FileHandle, path: string, size: number): Promise<Uint8Array> {
  for (let length = Math.min(size, 4096); ; length = Math.min(size, length * 4)) {
    const tail = new Uint8Array(length);
    await readFully(handle, path, tail, size - length);
    const newline = tail.lastIndexOf(0x0a);
    if (newline >= 0 || length === size) return tail.subarray(newline + 1);
  }
}

function isJsonObject(text: string): boolean {
  if (!text.startsWith("{")) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

async function fillAndSync(
  path: string,
  write: (append: (data: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const handle = await fs().open(path, "w");
  try {
    await write((data) => writeFully(handle, data));
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeFully(handle: FileHandle, data: Uint8Array): Promise<void> {
  for (let done = 0; done < data.length;) {
    const { bytesWritten } = await handle.write(data, done, data.length - done);
    done += bytesWritten;
  }
}

async function readFully(
  handle: FileHandle,
  path: string,
  into: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) {
      throw new FormatError(
        `${path}: expected ${into.length} bytes at ${position}, the file ends after ${done}; it is truncated: copy or download it again`,
      );
    }
    done += bytesRead;
  }
}

async function openToRead(path: string): Promise<FileHandle> {
  try {
    return await fs().open(path, "r");
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): FormatError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return new FormatError(`${path}: no such file; check the path`);
  if (code === "EISDIR") return new FormatError(`${path}: expected a file, got a folder`);
  return new FormatError(`${path}: cannot be read (${messageOf(error)})`);
}

/** Removes the file `path` where it is there. */
export const removeFile = (path: string): Promise<void> => writing(path, fs().rm(path, { force: true }));

/** Removes `folder`, and all that is in it, where it is there. */
export const removeFolder = (folder: string): Promise<void> =>
  writing(folder, fs().rm(folder, { recursive: true, force: true }));

/** Gives a file or a folder another name; a file of that name is replaced. */
export const movePath = (from: string, to: string): Promise<void> => writing(to, fs().rename(from, to));

/** What `action`, which writes `path`, gives. Throws FormatError when the system refuses. */
export async function writing<T>(path: string, action: Promise<T>): Promise<T> {
  try {
    return await action;
  } catch (error) {
    throw unwritable(path, error);
  }
}

/** What a failed write is to the user; an error that is none of the system's, as it is. */
const unwritable = (path: string, error: unknown): unknown =>
  error instanceof Error && "syscall" in error ? refused(`${path}: cannot be written`, error) : error;

/** What stands in the way of a write, and what to do. */
const REFUSALS: Readonly<Record<string, readonly [why: string, remedy: string]>> = {
  ENOSPC: ["no space left on the device", "make room there, or choose another place"],
  EDQUOT: ["your quota is used up", "make room there, or choose another place"],
  EROFS: ["the file system is read-only", "choose another place"],
  EACCES: ["permission denied", "choose another place, or change its permissions"],
  EPERM: ["not permitted", "choose another place, or change its permissions"],
  EISDIR: ["a folder has that name", "choose another name"],
  ENOTEMPTY: ["a folder has that name", "choose another name"],
  ENOTDIR: ["a file stands where a folder is wanted", "choose another place"],
  EEXIST: ["a file stands where a folder is wanted", "choose another place"],
};

/** Why the system refuses a write, in words, and what to do. */
export function refusal(error: unknown): string {
  const [why, remedy] = REFUSALS[String((error as NodeJS.ErrnoException).code)] ?? [
    messageOf(error),
    "choose another place",
  ];
  return `(${why}); ${remedy}`;
}

const refused = (what: string, error: unknown): FormatError => new FormatError(`${what} ${refusal(error)}`);
