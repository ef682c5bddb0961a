/**
 * The zip files that torch writes: entries stored as they are, so that nothing is ever inflated and a tensor is read where
 * it lies. Everything else of the format (compression, encryption, several disks, comments) is refused, and so are
 * entries that overlap. Format: PKWARE's APPNOTE.TXT, sections 4.3 to 4.5. Nothing is allocated from what the file claims
 * before that was held against its size.
 */
import { FormatError } from "../../errors.ts";
import type { FileReader } from "../reader.ts";

/** Where an entry's bytes lie in the file. */
export interface StoredEntry {
  readonly offset: number;
  readonly bytes: number;
}

/** More bytes of directory than any checkpoint has: about half a million tensors. */
const MAX_DIRECTORY = 1 << 26;

const END = { signature: 0x06054b50, bytes: 22 };
const LOCATOR = { signature: 0x07064b50, bytes: 20 };
const END64 = { signature: 0x06064b50, bytes: 56 };
const ENTRY = { signature: 0x02014b50, bytes: 46 };
const LOCAL = { signature: 0x04034b50, bytes: 30 };

interface Directory {
  readonly count: number;
  readonly offset: number;
  readonly bytes: number;
}

interface Entry {
  readonly name: string;
  readonly header: number;
  readonly bytes: number;
}

/**
 * The entries of a zip file by name.
 * @throws FormatError for what torch does not write, and for entries that overlap or leave the file
 */
export async function readStoredZip(file: FileReader): Promise<Map<string, StoredEntry>> {
  const directory = await readEnd(file);
  const raw = await bytesAt(file, directory.offset, directory.bytes, "directory");
  const entries = new Map<string, StoredEntry>();
  let reached = 0;
  for (const entry of readDirectory(file, raw, directory.count).toSorted((a, b) => a.header - b.header)) {
    const offset = await dataOffset(file, entry);
    const end = offset + entry.bytes;
    if (entry.header < reached || end > directory.offset)
      throw bad(file, `entry ${entry.name} overlaps its neighbour or leaves the file`);
    if (entries.has(entry.name)) throw bad(file, `entry ${entry.name} is there twice`);
    entries.set(entry.name, { offset, bytes: entry.bytes });
    reached = end;
  }
  return entries;
}

/** Where the directory lies, from the end of the file; large files, and torch always, say it again in 64 bits. */
async function readEnd(file: FileReader): Promise<Directory> {
  if (file.size < END.bytes) throw bad(file, "it is empty or truncated");
  const at = file.size - END.bytes;
  const end = await bytesAt(file, at, END.bytes, "end");
  if (end.getUint32(0, true) !== END.signature) throw bad(file, "its end is missing; it is truncated");
  const small = {
    count: end.getUint16(10, true),
    bytes: end.getUint32(12, true),
    offset: end.getUint32(16, true),
  };
  const large = small.count === 0xffff || small.bytes === 0xffffffff || small.offset === 0xffffffff;
  const directory = large ? await readEnd64(file, at) : small;
  const { count, offset, bytes } = directory;
  if (offset + bytes > at || bytes > MAX_DIRECTORY || count * ENTRY.bytes > bytes)
    throw bad(file, `${count} entries in ${bytes} bytes at ${offset} do not fit its ${file.size} bytes`);
  return directory;
}

async function readEnd64(file: FileReader, end: number): Promise<Directory> {
  const locator = await bytesAt(file, end - LOCATOR.bytes, LOCATOR.bytes, "locator");
  if (locator.getUint32(0, true) !== LOCATOR.signature) throw bad(file, "its 64-bit end is missing");
  const end64 = await bytesAt(file, whole(file, locator, 8), END64.bytes, "64-bit end");
  if (end64.getUint32(0, true) !== END64.signature)
    throw bad(file, "its 64-bit end is not where it should be");
  return { count: whole(file, end64, 32), bytes: whole(file, end64, 40), offset: whole(file, end64, 48) };
}

function readDirectory(file: FileReader, raw: DataView, count: number): Entry[] {
  const entries: Entry[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY.bytes > raw.byteLength || raw.getUint32(at, true) !== ENTRY.signature)
      throw bad(file, `entry ${i} of its directory is not one`);
    const [nameBytes, extraBytes, noteBytes] = [28, 30, 32].map((field) =>
      raw.getUint16(at + field, true),
    ) as [number, number, number];
    const next = at + ENTRY.bytes + nameBytes + extraBytes + noteBytes;
    if (next > raw.byteLength) throw bad(file, `entry ${i} of its directory is cut off`);
    const text = new Uint8Array(raw.buffer, raw.byteOffset + at + ENTRY.bytes, nameBytes);
    const name = new TextDecoder().decode(text);
    entries.push({
      name,
      ...readEntry(file, name, new DataView(raw.buffer, raw.byteOffset + at, next - at)),
    });
    at = next;
  }
  return entries;
}

/** Size and place of an entry from its record in the directory. */
function readEntry(file: FileReader, name: string, record: DataView): Omit<Entry, "name"> {
  const [flags, method] = [record.getUint16(8, true), record.getUint16(10, true)];
  if ((flags & 1) !== 0) throw bad(file, `entry ${name} is encrypted`);
  if (method !== 0)
    throw bad(file, `entry ${name} is compressed (method ${method}); torch stores entries as they are`);
  const large = readLarge(file, name, record);
  const field = (offset: number): number => {
    const value = record.getUint32(offset, true);
    return value === 0xffffffff ? large() : value;
  };
  // In the order in which the 64-bit values follow each other.
  const [bytes, packed, header] = [field(24), field(20), field(42)];
  if (bytes !== packed)
    throw bad(file, `entry ${name} has ${packed} bytes for ${bytes}, though it is stored`);
  return { header, bytes };
}

/** The 64-bit values of an entry, one a call (section 4.5.3). */
function readLarge(file: FileReader, name: string, record: DataView): () => number {
  let at = ENTRY.bytes + record.getUint16(28, true);
  const end = at + record.getUint16(30, true);
  while (at + 4 <= end && record.getUint16(at, true) !== 1) at += 4 + record.getUint16(at + 2, true);
  const last = at + 4 <= end ? Math.min(end, at + 4 + record.getUint16(at + 2, true)) : 0;
  at += 4;
  return () => {
    if (at + 8 > last) throw bad(file, `entry ${name} lacks its 64-bit size`);
    at += 8;
    return whole(file, record, at - 8);
  };
}

/** The first byte of an entry's data: after its own header, which may be longer than the directory's. */
async function dataOffset(file: FileReader, { name, header }: Entry): Promise<number> {
  const local = await bytesAt(file, header, LOCAL.bytes, `entry ${name}`);
  if (local.getUint32(0, true) !== LOCAL.signature)
    throw bad(file, `entry ${name} is not where it should be`);
  return header + LOCAL.bytes + local.getUint16(26, true) + local.getUint16(28, true);
}

async function bytesAt(file: FileReader, offset: number, bytes: number, what: string): Promise<DataView> {
  if (offset < 0 || offset + bytes > file.size) throw bad(file, `its ${what} lies outside of it`);
  const raw = new Uint8Array(bytes);
  await file.read(raw, offset);
  return new DataView(raw.buffer);
}

function whole(file: FileReader, view: DataView, offset: number): number {
  const value = view.getBigUint64(offset, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw bad(file, `${value} is no size or place in it`);
  return Number(value);
}

function bad(file: FileReader, problem: string): FormatError {
  return new FormatError(`${file.path}: not a zip file as torch writes it: ${problem}`);
}
