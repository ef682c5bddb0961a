/** One file from the hub into the cache, over connections that break. */
import { ConfigError, UserError } from "../../errors.ts";
import type { BlobInfo, PartialBlob, RepoCache } from "./cache.ts";
import { causeOf, filePath, type HubEvents, type HubRepo, request, Unreachable } from "./client.ts";

/** Where files come from, and where they go. */
export interface Source {
  readonly repo: HubRepo;
  readonly cache: RepoCache;
  readonly events: HubEvents;
  readonly commit: string;
}

/** Tries in a row that bring no byte before a download is given up. */
const TRIES = 4;

/**
 * Fetches one file, going on where a broken connection, or an earlier process, has left it.
 * @throws ConfigError when it cannot be had, or is stopped; FormatError when what comes is not what the hub announced
 */
export async function download(source: Source, file: string, blob: BlobInfo): Promise<void> {
  const { repo, cache } = source;
  const what = `${repo.name}/${file}`;
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
  const { repo, commit, events } = source;
  const broken = new AbortController();
  const signal = events.signal ? AbortSignal.any([broken.signal, events.signal]) : broken.signal;
  const idle = (): ReturnType<typeof setTimeout> =>
    setTimeout(() => broken.abort(new Error("no byte came")), events.idle ?? 60_000);
  let timer = idle();
  try {
    const range = { range: `bytes=${partial.bytes}-` };
    const response = await request(
      repo,
      filePath(repo, commit, file),
      partial.bytes > 0 ? range : {},
      signal,
    );
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
