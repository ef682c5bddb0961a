/** Files as torch.save writes them, byte by byte: pickles of state dicts, and zip files that only store. */

/** Pieces of a pickle of protocol 2. */
export const op = {
  text: (s: string): Buffer => Buffer.concat([Buffer.of(0x58), u32(Buffer.byteLength(s)), Buffer.from(s)]),
  int: (n: number): Buffer => Buffer.concat([Buffer.of(0x4a), i32(n)]),
  global: (module: string, name: string): Buffer => Buffer.from(`c${module}\n${name}\n`),
  tuple: (...items: readonly Buffer[]): Buffer => Buffer.concat([Buffer.of(0x28), ...items, Buffer.of(0x74)]),
  reduce: (callee: Buffer, args: Buffer): Buffer => Buffer.concat([callee, args, Buffer.of(0x52)]),
  put: (key: number): Buffer => Buffer.of(0x71, key),
  get: (key: number): Buffer => Buffer.of(0x68, key),
  append: (): Buffer => Buffer.of(0x61),
  none: (): Buffer => Buffer.of(0x4e),
  no: (): Buffer => Buffer.of(0x89),
} as const;

/** A whole pickle. */
export const pickle = (value: Buffer): Buffer => Buffer.concat([Buffer.of(0x80, 2), value, Buffer.of(0x2e)]);

/** An ordered dict of names and values. */
export const dict = (items: Readonly<Record<string, Buffer>>): Buffer =>
  Buffer.concat([
    op.reduce(op.global("collections", "OrderedDict"), Buffer.of(0x29)),
    Buffer.of(0x28),
    ...Object.entries(items).flatMap(([name, value]) => [op.text(name), value]),
    Buffer.of(0x75),
  ]);

/** What a pickle says of a tensor. */
export interface TensorClaim {
  readonly key: string;
  readonly count: number;
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
  readonly start?: number;
  readonly type?: string;
}

/** A call of _rebuild_tensor_v2. */
export function tensor({
  key,
  count,
  shape,
  strides,
  start = 0,
  type = "FloatStorage",
}: TensorClaim): Buffer {
  const id = op.tuple(
    op.text("storage"),
    op.global("torch", type),
    op.text(key),
    op.text("cpu"),
    op.int(count),
  );
  const steps = strides ?? shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const [sizes, jumps] = [shape, steps].map((numbers) => op.tuple(...numbers.map(op.int)));
  const storage = Buffer.concat([id, Buffer.of(0x51)]);
  const hooks = op.reduce(op.global("collections", "OrderedDict"), Buffer.of(0x29));
  const args = op.tuple(storage, op.int(start), sizes!, jumps!, op.no(), hooks);
  return op.reduce(op.global("torch._utils", "_rebuild_tensor_v2"), args);
}

/** What a test may spoil in a zip file. */
export interface ZipFaults {
  readonly method?: number;
  readonly flags?: number;
  /** Instead of each entry's own place. */
  readonly place?: number;
  /** Instead of each entry's own size. */
  readonly bytes?: number;
  readonly entries?: number;
  /** Sizes and places in 64 bits, as in files of more than 4 GB. */
  readonly large?: boolean;
}

/** A zip file of stored entries. */
export function zip(files: Readonly<Record<string, Buffer>>, faults: ZipFaults = {}): Buffer {
  const [parts, directory]: [Buffer[], Buffer[]] = [[], []];
  let at = 0;
  for (const [name, data] of Object.entries(files)) {
    const [method, size] = [faults.method ?? 0, faults.large ? 0xffffffff : (faults.bytes ?? data.length)];
    const extra = faults.large ? [u16(1), u16(24), u64(data.length), u64(data.length), u64(at)] : [];
    const place = faults.large ? 0xffffffff : (faults.place ?? at);
    const common = [
      u16(20),
      u16(faults.flags ?? 0),
      u16(method),
      u32(0),
      u32(0),
      u32(size),
      u32(size),
      u16(name.length),
    ];
    const tail = [
      u16(Buffer.concat(extra).length),
      u16(0),
      u16(0),
      u16(0),
      u32(0),
      u32(place),
      Buffer.from(name),
      ...extra,
    ];
    const local = Buffer.concat([u32(0x04034b50), ...common, u16(0), Buffer.from(name), data]);
    directory.push(Buffer.concat([u32(0x02014b50), u16(20), ...common, ...tail]));
    parts.push(local);
    at += local.length;
  }
  const listed = Buffer.concat(directory);
  const count = faults.entries ?? parts.length;
  const sizes = [u64(count), u64(count), u64(listed.length), u64(at)];
  const end64 = [u32(0x06064b50), u64(44), u16(45), u16(45), u32(0), u32(0), ...sizes];
  const locator = [u32(0x07064b50), u32(0), u64(at + listed.length), u32(1)];
  const none = [u16(0xffff), u16(0xffff), u32(0xffffffff), u32(0xffffffff), u16(0)];
  if (faults.large)
    return Buffer.concat([...parts, listed, ...end64, ...locator, u32(0x06054b50), u32(0), ...none]);
  const end = [u32(0x06054b50), u16(0), u16(0), u16(count), u16(count), u32(listed.length), u32(at), u16(0)];
  return Buffer.concat([...parts, listed, ...end]);
}

/** A state dict of float tensors as a zip file. */
export function torchZip(
  tensors: Readonly<Record<string, { shape: readonly number[]; data: Float32Array }>>,
): Buffer {
  const names = Object.keys(tensors);
  const claims = names.map((name, key) => {
    const { shape, data } = tensors[name]!;
    return [name, tensor({ key: String(key), count: data.length, shape })];
  });
  const storages = names.map((name, key) => [
    `model/data/${key}`,
    Buffer.from(tensors[name]!.data.slice().buffer),
  ]);
  const files = Object.fromEntries([
    ["model/data.pkl", pickle(dict(Object.fromEntries(claims)))],
    ...storages,
  ]);
  return zip(files as Record<string, Buffer>);
}

function u16(n: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(n);
  return bytes;
}

function u32(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(n);
  return bytes;
}

function u64(n: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(n));
  return bytes;
}

function i32(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(n);
  return bytes;
}
