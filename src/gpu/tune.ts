/**
 * What `vbon tune` found: for an adapter and a class of shapes, the variant of a kernel and its tunables. Ops ask when
 * they record (`Device.tuned`); what is not found takes the op's own choice. A class must not know what a row's bits may not
 * depend on (the number of rows): see `classOf` of the op.
 */
import { FormatError } from "../errors.ts";
import { cacheFolder, env, processor, readText } from "../host.ts";
import { SHIPPED, type TuneFile, type TuneTable, type Tuning } from "./tuned.ts";

export type { TuneFile, TuneTable, Tuning } from "./tuned.ts";

/** An adapter as tables know it: maker, kind, driver with its version, lanes; the processor too where that runs the shaders. */
export function adapterKey(info: GPUAdapterInfo, lanes: number, software: boolean): string {
  const { vendor, architecture, device, description } = info;
  const parts = [vendor, architecture, device, description, `${lanes} lanes`, software ? processor() : ""];
  return [...new Set(parts)].filter(Boolean).join(", ");
}

/** The file of this user's own tables; undefined in a browser. */
export function tuneFile(): string | undefined {
  const folder = cacheFolder();
  return folder && `${folder}/tune.json`;
}

/**
 * A file's tables; empty where there is no file.
 * @throws FormatError when it is no such file
 */
export async function readTuneFile(path: string): Promise<TuneFile> {
  let text: string;
  try {
    text = await readText(new URL(`file://${encodeURI(path.replaceAll("\\", "/"))}`));
  } catch {
    return { version: 1, adapters: {} };
  }
  try {
    const file = JSON.parse(text) as TuneFile;
    if (file.version === 1 && file.adapters !== null && typeof file.adapters === "object") return file;
  } catch {
    // said below
  }
  throw new FormatError(
    `${path}: expected tables of \`vbon tune\`; got something else. Remove it with \`vbon tune --forget\`.`,
  );
}

/** Later tables win, class by class. */
export function merge(...tables: readonly (TuneTable | undefined)[]): TuneTable {
  const merged: Record<string, Record<string, Tuning>> = {};
  for (const table of tables)
    for (const [op, classes] of Object.entries(table ?? {})) merged[op] = { ...merged[op], ...classes };
  return merged;
}

/**
 * What holds for an adapter: the tables that ship, then the user's own. `VBON_TUNE=off`: none, `shipped`: not the user's. A
 * broken file is said once and left aside: a run must not fail for it.
 */
export async function loadTable(key: string): Promise<TuneTable> {
  const mode = env("VBON_TUNE");
  if (mode === "off") return {};
  const path = mode === "shipped" ? undefined : tuneFile();
  if (!path) return SHIPPED.adapters[key] ?? {};
  try {
    return merge(SHIPPED.adapters[key], (await readTuneFile(path)).adapters[key]);
  } catch (error) {
    console.warn(`vbon: ${(error as Error).message}`);
    return SHIPPED.adapters[key] ?? {};
  }
}

/** The power of two at or above n, as classes of shapes print it. */
export const bucket = (n: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, n)));
