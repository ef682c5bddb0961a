/** Files of text as they are read: those of gzip (`.gz`) unpacked on the way. */
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { FormatError, messageOf, UserError } from "../../errors.ts";
import { readPieces } from "../files.ts";

/** A name without the ".gz" behind it. */
export const unpackedName = (path: string): string => path.replace(/\.gz$/i, "");

/** The ending of a name: ".jsonl", or ".jsonl.gz"; "" where it has none. */
export const endingOf = (path: string): string => /(\.[^./]*)?\.gz$|\.[^./]*$/i.exec(path)?.[0] ?? "";

/**
 * The bytes of a file's text, in order, in pieces.
 * @throws FormatError when it cannot be read, or is not gzip where its name says so
 */
export async function* readUnpacked(path: string): AsyncGenerator<Uint8Array> {
  if (unpackedName(path) === path) return yield* readPieces(path);
  const unpacked = createGunzip();
  // The iterator below throws what breaks either of them.
  pipeline(Readable.from(readPieces(path)), unpacked, () => undefined);
  try {
    for await (const piece of unpacked) yield piece as Uint8Array;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new FormatError(
      `${path}: not a whole file of gzip (${messageOf(error)}); copy or download it again`,
    );
  }
}
