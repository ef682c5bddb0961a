/**
 * Checkpoints that torch.save wrote (`pytorch_model.bin`): state dicts, as a zip file or in the format before torch 1.6, in
 * one file or in shards; not the tar files of before 0.1.10. Nothing of the pickle is run: see pickle.ts. Hosts are taken to be little-endian.
 */
import { FormatError } from "../../errors.ts";
import { type Folder, locate } from "../folder.ts";
import type { FileReader } from "../reader.ts";
import { unpickle, UnfinishedPickle } from "./pickle.ts";
import { type Checkpoint, checkpointOf, readFloats } from "./safetensors.ts";
import { bytesOf, type Header } from "./safetensors-header.ts";
import { readShards } from "./shards.ts";
import { readStoredZip, type StoredEntry } from "./stored-zip.ts";
import { locateTensor, type StridedInfo, tensorsIn, type TorchTensor, torchWorld } from "./torch-tensors.ts";

/** More bytes of pickle than any state dict has: a line or two a tensor. */
const MAX_PICKLE = 1 << 26;

/**
 * Opens a `.bin` file of torch, or the `.bin.index.json` of several.
 * @throws FormatError when it is no state dict, or anything in it is amiss
 */
export async function openTorchCheckpoint(path: string): Promise<Checkpoint> {
  const { folder, file } = await locate(path);
  if (!file) throw new FormatError(`${path}: expected a file of torch.save, got a folder`);
  return readTorchCheckpoint(folder, file);
}

/** The checkpoint in `file` of `folder`. Throws FormatError as {@link openTorchCheckpoint}. */
export async function readTorchCheckpoint(folder: Folder, file: FileReader): Promise<Checkpoint> {
  const { tensors } = file.name.endsWith(".json")
    ? await readShards(folder, file, ".bin", readTorch)
    : await readTorch(file);
  return checkpointOf(file.path, tensors, {}, readStrided, ({ strides }) => !strides);
}

async function readTorch(file: FileReader): Promise<Header<StridedInfo>> {
  const head = new Uint8Array(Math.min(4, file.size));
  await file.read(head, 0);
  if (head[0] === 0x50 && head[1] === 0x4b) return { tensors: await readZip(file), metadata: {} };
  if (head[0] === 0x80) return { tensors: await readOlder(file), metadata: {} };
  if (await isTar(file))
    throw new FormatError(
      `${file.path}: it is a tar file, as torch.save wrote them before PyTorch 0.1.10 (2017), which are not read; ` +
        "torch.load it, and torch.save its state_dict() again",
    );
  throw new FormatError(
    `${file.path}: expected a file of torch.save, got something else; it is corrupt or truncated`,
  );
}

/** Whether the first block of the file is the head of a tar member (POSIX.1: "ustar" at 257). */
async function isTar(file: FileReader): Promise<boolean> {
  if (file.size < 512) return false;
  const magic = new Uint8Array(5);
  await file.read(magic, 257);
  return new TextDecoder().decode(magic) === "ustar";
}

/** `<archive>/data.pkl`, and each storage as `<archive>/data/<key>`. */
async function readZip(file: FileReader): Promise<StridedInfo[]> {
  const entries = await readStoredZip(file);
  const [pickle, ...others] = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickle === undefined || others.length > 0)
    throw new FormatError(`${file.path}: expected one data.pkl in the zip file; is it of torch.save?`);
  const folder = pickle.slice(0, -"data.pkl".length);
  await checkByteOrder(file, entries.get(`${folder}byteorder`));
  const { offset, bytes } = entries.get(pickle)!;
  if (bytes > MAX_PICKLE)
    throw new FormatError(`${file.path}: data.pkl has ${bytes} bytes; expected at most ${MAX_PICKLE}`);
  const raw = new Uint8Array(bytes);
  await file.read(raw, offset);
  const { value } = unpickle(file.path, raw, torchWorld(file.path));
  return [...tensorsIn(file.path, value)].map(([name, tensor]) =>
    placed(file, name, tensor, entries.get(`${folder}data/${tensor.storage.key}`)),
  );
}

async function checkByteOrder(file: FileReader, entry: StoredEntry | undefined): Promise<void> {
  if (!entry) return;
  const raw = new Uint8Array(Math.min(entry.bytes, 16));
  await file.read(raw, entry.offset);
  const order = new TextDecoder().decode(raw);
  if (order !== "little")
    throw new FormatError(`${file.path}: its byte order is ${JSON.stringify(order)}; expected "little"`);
}

/** What torch.save wrote before version 1.6, in a row: a magic number, a version, the machine, the state dict, names. */
const OLDER_MAGIC = 0x1950a86a20f9469cfc6cn;

/** Pickles one after the other, then the storages in the order of their names: a count in 8 bytes, and the values. */
async function readOlder(file: FileReader): Promise<StridedInfo[]> {
  const { tensors, keys, end } = await readPickles(file);
  const dtypes = new Map([...tensors.values()].map(({ storage }) => [storage.key, storage.dtype]));
  const places = new Map<string, StoredEntry>();
  let at = end;
  for (const key of keys) {
    const dtype = dtypes.get(key);
    if (!dtype || places.has(key))
      throw new FormatError(`${file.path}: no tensor has the storage ${key}, or it is there twice`);
    const bytes = (await countAt(file, at)) * bytesOf(dtype);
    places.set(key, { offset: at + 8, bytes });
    at += 8 + bytes;
    if (at > file.size) throw truncated(file);
  }
  return [...tensors].map(([name, tensor]) => placed(file, name, tensor, places.get(tensor.storage.key)));
}

async function countAt(file: FileReader, at: number): Promise<number> {
  if (at + 8 > file.size) throw truncated(file);
  const raw = new Uint8Array(8);
  await file.read(raw, at);
  const count = new DataView(raw.buffer).getBigUint64(0, true);
  return count <= BigInt(file.size) ? Number(count) : Infinity;
}

const truncated = ({ path }: FileReader): FormatError =>
  new FormatError(`${path}: it is truncated or corrupt: copy or download it again`);

interface Pickles {
  readonly tensors: ReturnType<typeof tensorsIn>;
  readonly keys: readonly string[];
  readonly end: number;
}

/** How long the pickles are is not written anywhere: ever more of the file is tried. */
async function readPickles(file: FileReader): Promise<Pickles> {
  for (let bytes = Math.min(file.size, 1 << 20); ; bytes = Math.min(file.size, bytes * 4, MAX_PICKLE)) {
    const raw = new Uint8Array(bytes);
    await file.read(raw, 0);
    try {
      return parsePickles(file.path, raw);
    } catch (error) {
      if (!(error instanceof UnfinishedPickle) || bytes === file.size || bytes === MAX_PICKLE) throw error;
    }
  }
}

function parsePickles(path: string, raw: Uint8Array): Pickles {
  let end = 0;
  const next = (): unknown => {
    const read = unpickle(path, raw, torchWorld(path), end);
    end = read.end;
    return read.value;
  };
  const [magic, version, machine] = [next(), next(), next()];
  if (magic !== OLDER_MAGIC || version !== 1001)
    throw new FormatError(
      `${path}: expected a file of torch.save, got another pickle; save model.state_dict()`,
    );
  if (!(machine instanceof Map) || machine.get("little_endian") !== true)
    throw new FormatError(`${path}: written on a big-endian machine; save it again on another`);
  const tensors = tensorsIn(path, next());
  const keys = next();
  if (!Array.isArray(keys) || keys.some((key) => typeof key !== "string"))
    throw new FormatError(`${path}: expected the names of its storages after the state dict`);
  return { tensors, keys: keys as string[], end };
}

/** Where `tensor` lies, whose storage is at `entry`: the pickle and the file must agree on its size. */
function placed(
  file: FileReader,
  name: string,
  tensor: TorchTensor,
  entry: StoredEntry | undefined,
): StridedInfo {
  const { dtype, key, count } = tensor.storage;
  const expected = count * bytesOf(dtype);
  if (entry?.bytes === expected) return locateTensor(file, name, entry.offset, tensor);
  throw new FormatError(
    `${file.path}: tensor ${name}: expected ${expected} bytes of storage ${key}, got ${entry?.bytes ?? "none"}; the file is corrupt`,
  );
}

/** A tensor's values, row-major; where they lie apart, from all between the first and the last. */
async function readStrided(info: StridedInfo): Promise<Float32Array> {
  const { shape, strides, count } = info;
  if (!strides || count === 0) return readFloats(info);
  const span = shape.reduce((last, size, i) => last + (size - 1) * strides[i]!, 0) + 1;
  const all = await readFloats({ ...info, count: span, bytes: (info.bytes / count) * span });
  const values = new Float32Array(count);
  for (let n = 0; n < count; n++) {
    let [rest, at] = [n, 0];
    for (let i = shape.length - 1; i >= 0; i--) {
      at += (rest % shape[i]!) * strides[i]!;
      rest = Math.floor(rest / shape[i]!);
    }
    values[n] = all[at]!;
  }
  return values;
}
