/**
 * One writer at a time: a lock is a file that names the process that made it. A lock whose process no longer lives counts for
 * nothing, so that after a kill -9 nobody has to remove it by hand.
 */
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { ConfigError } from "../errors.ts";
import { createFile, ensureFolder, movePath, readText, removeEmptyFolders, removeFile } from "./files.ts";

/** A lock that is held. */
export interface Lock {
  release(): Promise<void>;
}

/** Who made a lock. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Tells the locks of one process apart; and ours from those of a dead process that had our number, as in containers. */
  readonly id: string;
}

/** The locks of this process by id, with their files; undefined of one that is being taken. */
const held = new Map<string, string | undefined>();
let cleansUp = false;

/**
 * Takes the lock `file` and makes its folder.
 * @param what it is that the lock protects, as the user calls it
 * @param elsewhere what to do instead: "choose another --out"
 * @throws ConfigError when a living process has it, this one or another; FormatError when it cannot be written
 */
export async function takeLock(file: string, what: string, elsewhere: string): Promise<Lock> {
  const made = await ensureFolder(dirname(file));
  const own = { pid: process.pid, host: hostname(), id: randomUUID() };
  const leave = async (): Promise<void> => {
    held.delete(own.id);
    if (made !== undefined) await removeEmptyFolders(dirname(file), made);
  };
  held.set(own.id, undefined);
  try {
    await claim(file, own, what, elsewhere);
  } catch (error) {
    await leave();
    throw error;
  }
  held.set(own.id, resolve(file));
  return { release: () => removeFile(file).finally(leave) };
}

/**
 * Runs `work` while `folder` is nobody else's; it is made, and where `work` puts nothing there, removed again.
 * @throws ConfigError, FormatError as {@link takeLock}
 */
export async function withFolder<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const lock = await takeLock(join(folder, ".lock"), folder, "choose another --out");
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

async function claim(file: string, own: Holder, what: string, elsewhere: string): Promise<void> {
  removeAtExit();
  while (!(await createFile(file, JSON.stringify(own)))) {
    const found = await readLock(file);
    if (found.holder && (await isAlive(found.holder)))
      throw inUse(what, file, found.holder, own.host, elsewhere);
    await putAside(file, found.text, own);
  }
}

interface Found {
  readonly text: string;
  /** Undefined where the file names nobody. */
  readonly holder: Holder | undefined;
}

/** One that is empty may be at its making: it is read twice. */
async function readLock(file: string): Promise<Found> {
  const first = parse(await readText(file).catch(() => ""));
  if (first.holder) return first;
  await setTimeout(200);
  return parse(await readText(file).catch(() => ""));
}

function parse(text: string): Found {
  try {
    const { pid, host, id } = JSON.parse(text) as Holder;
    return { text, holder: Number.isInteger(pid) && pid > 0 ? { pid, host, id } : undefined };
  } catch {
    return { text, holder: undefined };
  }
}

/** On another machine nobody can tell: it counts as alive. */
async function isAlive({ pid, host, id }: Holder): Promise<boolean> {
  if (host !== hostname()) return true;
  if (pid === process.pid) return held.has(id);
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  // Killed, but its parent has not asked what became of it: containers are full of these.
  return !/\) [ZX] /.test(await readText(`/proc/${pid}/stat`).catch(() => ""));
}

/**
 * Removes a dead lock. Of two processes that find the same one, the slower may get hold of the lock that the quicker has made
 * meanwhile: it gives that back.
 */
async function putAside(file: string, dead: string, { id }: Holder): Promise<void> {
  const aside = `${file}.${id}`;
  const moved = await movePath(file, aside).then(
    () => true,
    () => false,
  );
  if (!moved) return; // it is gone, or another has it
  if ((await readText(aside)) === dead) return removeFile(aside);
  await movePath(aside, file);
}

function inUse(
  what: string,
  file: string,
  { pid, host }: Holder,
  here: string,
  elsewhere: string,
): ConfigError {
  const where = host === here ? "on this machine" : `on ${host}; if that is gone, delete ${file}`;
  const who = pid === process.pid && host === here ? "by this process already" : `by process ${pid} ${where}`;
  return new ConfigError(`${what}: is in use ${who}; wait for it, or ${elsewhere}`);
}

/** The second Ctrl-C ends the process at once. */
function removeAtExit(): void {
  if (cleansUp) return;
  cleansUp = true;
  process.once("exit", () => {
    for (const file of held.values()) if (file !== undefined) rmSync(file, { force: true });
  });
}
