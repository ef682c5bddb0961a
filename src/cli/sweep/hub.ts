/** What a sweep's settings name on the hub, fetched before it is planned: all its runs are on one commit. */
import { withHub } from "../flags/hub.ts";
import type { Io } from "../verb.ts";
import type { Settings, SweepFile } from "./file.ts";

/**
 * The sweep with folders and commits for names on the hub.
 * @throws ConfigError, FormatError as {@link withHub}
 */
export async function fetchedSweep(file: SweepFile, io: Io): Promise<SweepFile> {
  const fetched = async <T extends Readonly<Record<string, unknown>>>(settings: T): Promise<T> =>
    (await withHub(settings, io)) as T;
  const each = async (all: Readonly<Record<string, Settings>>): Promise<Record<string, Settings>> => {
    const done: Record<string, Settings> = {};
    for (const [name, settings] of Object.entries(all)) done[name] = await fetched(settings);
    return done;
  };
  const runs: SweepFile["runs"][number][] = [];
  for (const grid of file.runs) runs.push(await fetched(grid));
  const [caches, align] = [await each(file.caches), await fetched(file.align)];
  return { ...file, caches, align, runs, evaluations: await each(file.evaluations) };
}
