/** A file that can be read at any offset, wherever it lies: on disk, behind an address, in memory. */
import { FormatError } from "../errors.ts";
import { parseJson } from "./json.ts";

/** A file of known size. There is nothing to close. */
export interface FileReader {
  /** What messages call it: a path, an address, or a name. */
  readonly path: string;
  /** Its name in its folder. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Fills `into` from byte `position`. Throws FormatError when the file ends before, or cannot be read. */
  read(into: Uint8Array, position: number): Promise<void>;
}

/** The whole text of a UTF-8 file. Throws FormatError when it cannot be read. */
export async function textOf(file: FileReader): Promise<string> {
  const bytes = new Uint8Array(file.size);
  await file.read(bytes, 0);
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** The value in a JSON file. Throws FormatError when it cannot be read, or is malformed, with line and column. */
export const jsonOf = async (file: FileReader): Promise<unknown> => parseJson(await textOf(file), file.path);

/** A file in memory, or one that a user has chosen in a page. */
export function blobReader(path: string, name: string, blob: Blob): FileReader {
  const { size } = blob;
  return {
    path,
    name,
    size,
    async read(into, position) {
      expectInside(path, size, into.length, position);
      into.set(new Uint8Array(await blob.slice(position, position + into.length).arrayBuffer()));
    },
  };
}

/** Throws FormatError when a file of `size` bytes ends before byte `position + length`. */
export function expectInside(path: string, size: number, length: number, position: number): void {
  if (position + length > size) throw endsEarly(path, length, position, Math.max(0, size - position));
}

/** What a file is that ends after `got` of `length` bytes. */
export const endsEarly = (path: string, length: number, position: number, got: number): FormatError =>
  new FormatError(
    `${path}: expected ${length} bytes at ${position}, the file ends after ${got}; it is truncated: copy or download it again`,
  );
