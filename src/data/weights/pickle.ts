/**
 * A pickle reader that runs nothing: it knows the opcodes that torch.save writes for a state dict (protocol 2), and gives
 * every name and call to its caller, who allows a handful. Any other opcode is refused by name.
 * Opcodes: Lib/pickletools.py of CPython.
 */
import { FormatError } from "../../errors.ts";

/** What a pickle holds here. Tuples and lists are arrays; `unknown` is what the caller's functions gave. */
export type Pickled = unknown;

/** What a pickle may name and call. */
export interface PickleWorld {
  /** The value of a global; throws FormatError for one that is not allowed. */
  global(module: string, name: string): Pickled;
  /** Calls what {@link global} gave. */
  call(callee: Pickled, args: readonly Pickled[]): Pickled;
  /** What a persistent id stands for: torch's storages. */
  persistent(id: Pickled): Pickled;
}

/** The opcodes that are known, and what refused ones are called. */
const REFUSED: Readonly<Record<number, string>> = {
  0x69: "INST",
  0x6f: "OBJ",
  0x81: "NEWOBJ",
  0x92: "NEWOBJ_EX",
  0x93: "STACK_GLOBAL",
  0x82: "EXT1",
  0x83: "EXT2",
  0x84: "EXT4",
  0x50: "PERSID",
  0x49: "INT",
  0x4c: "LONG",
  0x46: "FLOAT",
  0x53: "STRING",
  0x56: "UNICODE",
  0x54: "BINSTRING",
  0x55: "SHORT_BINSTRING",
  0x42: "BINBYTES",
  0x43: "SHORT_BINBYTES",
  0x8b: "LONG4",
  0x8c: "SHORT_BINUNICODE",
  0x8d: "BINUNICODE8",
  0x8e: "BINBYTES8",
  0x8f: "EMPTY_SET",
  0x90: "ADDITEMS",
  0x91: "FROZENSET",
  0x94: "MEMOIZE",
  0x95: "FRAME",
  0x96: "BYTEARRAY8",
  0x97: "NEXT_BUFFER",
  0x98: "READONLY_BUFFER",
  0x30: "POP",
  0x31: "POP_MARK",
  0x32: "DUP",
  0x64: "DICT",
  0x6c: "LIST",
  0x67: "GET",
  0x70: "PUT",
};

const MARK = Symbol("mark");
const DONE = Symbol("done");

/** The pickle ends before its STOP: more bytes may be needed. */
export class UnfinishedPickle extends FormatError {
  override name = "UnfinishedPickle";
}

/** A pickle in the middle of being read. */
class Reader {
  readonly where: string;
  readonly world: PickleWorld;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly stack: unknown[] = [];
  readonly memo = new Map<number, unknown>();
  at: number;

  constructor(where: string, bytes: Uint8Array, start: number, world: PickleWorld) {
    this.where = where;
    this.world = world;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = start;
  }

  fail(problem: string): never {
    throw new FormatError(`${this.where}: not a pickled state dict: ${problem}, at byte ${this.at}`);
  }

  /** The place of the next `count` bytes, which are taken. */
  take(count: number): number {
    const from = this.at;
    if (count > this.bytes.length - from)
      throw new UnfinishedPickle(`${this.where}: the pickle is truncated after ${this.bytes.length} bytes`);
    this.at += count;
    return from;
  }

  text(count: number): string {
    const from = this.take(count);
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(this.bytes.subarray(from, from + count));
    } catch {
      return this.fail("a text is not UTF-8");
    }
  }

  line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    const text = this.text((end < 0 ? this.bytes.length + 1 : end) - this.at);
    this.take(1);
    return text;
  }

  /** A signed little-endian number of up to 255 bytes; a bigint where it is beyond safe numbers. */
  long(): number | bigint {
    const count = this.bytes[this.take(1)]!;
    const from = this.take(count);
    let value = 0n;
    for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[from + i]!);
    const signed = BigInt.asIntN(8 * count, value);
    const small = Number(signed);
    return Number.isSafeInteger(small) ? small : signed;
  }

  pop(): unknown {
    if (this.stack.length === 0 || this.stack.at(-1) === MARK) this.fail("a value is missing");
    return this.stack.pop();
  }

  top(): unknown {
    if (this.stack.length === 0 || this.stack.at(-1) === MARK) this.fail("a value is missing");
    return this.stack.at(-1);
  }

  /** All values above the last mark, which goes too. */
  popMark(): unknown[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) this.fail("a mark is missing");
    const values = this.stack.splice(mark);
    return values.slice(1);
  }

  popArray(): readonly unknown[] {
    const value = this.pop();
    return Array.isArray(value) ? (value as unknown[]) : this.fail("expected a tuple");
  }

  recall(key: number): unknown {
    return this.memo.has(key) ? this.memo.get(key) : this.fail(`nothing was kept as ${key}`);
  }

  setItems(items: readonly unknown[]): void {
    const map = this.top();
    if (!(map instanceof Map) || items.length % 2 !== 0) return this.fail("expected a dict and its items");
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  append(items: readonly unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) return this.fail("expected a list");
    for (const item of items) list.push(item);
  }
}

/** Each opcode: what it pushes, undefined where it pushes nothing, or DONE. */
const OPCODES: ReadonlyMap<number, (r: Reader) => unknown> = new Map<number, (r: Reader) => unknown>([
  [0x80, (r) => protocol(r)], // PROTO
  [0x2e, () => DONE], // STOP
  [0x28, () => MARK],
  [0x4e, () => null], // NONE
  [0x88, () => true],
  [0x89, () => false],
  [0x4b, (r) => r.bytes[r.take(1)]], // BININT1
  [0x4d, (r) => r.view.getUint16(r.take(2), true)], // BININT2
  [0x4a, (r) => r.view.getInt32(r.take(4), true)], // BININT
  [0x8a, (r) => r.long()], // LONG1
  [0x47, (r) => r.view.getFloat64(r.take(8), false)], // BINFLOAT
  [0x58, (r) => r.text(r.view.getUint32(r.take(4), true))], // BINUNICODE
  [0x29, () => []], // EMPTY_TUPLE
  [0x5d, () => []], // EMPTY_LIST
  [0x7d, () => new Map()], // EMPTY_DICT
  [0x85, (r) => [r.pop()]], // TUPLE1
  [0x86, (r) => [r.pop(), r.pop()].toReversed()], // TUPLE2
  [0x87, (r) => [r.pop(), r.pop(), r.pop()].toReversed()], // TUPLE3
  [0x74, (r) => r.popMark()], // TUPLE
  [0x71, (r) => void r.memo.set(r.bytes[r.take(1)]!, r.top())], // BINPUT
  [0x72, (r) => void r.memo.set(r.view.getUint32(r.take(4), true), r.top())], // LONG_BINPUT
  [0x68, (r) => r.recall(r.bytes[r.take(1)]!)], // BINGET
  [0x6a, (r) => r.recall(r.view.getUint32(r.take(4), true))], // LONG_BINGET
  [0x73, (r) => setItem(r)], // SETITEM
  [0x75, (r) => r.setItems(r.popMark())], // SETITEMS
  [0x61, (r) => r.append([r.pop()])], // APPEND
  [0x65, (r) => r.append(r.popMark())], // APPENDS
  [0x63, (r) => r.world.global(r.line(), r.line())], // GLOBAL
  [0x51, (r) => r.world.persistent(r.pop())], // BINPERSID
  [0x52, (r) => reduce(r)], // REDUCE
  [0x62, (r) => build(r)], // BUILD
]);

function protocol(r: Reader): undefined {
  const version = r.bytes[r.take(1)]!;
  if (version !== 2) r.fail(`its protocol is ${version}; torch writes 2`);
  return undefined;
}

function setItem(r: Reader): undefined {
  const value = r.pop();
  r.setItems([r.pop(), value]);
  return undefined;
}

function reduce(r: Reader): unknown {
  const args = r.popArray();
  return r.world.call(r.pop(), args);
}

/** Attributes of a state dict (`_metadata`): not needed, and of nothing else. */
function build(r: Reader): undefined {
  const state = r.pop();
  if (!(state instanceof Map) || !(r.top() instanceof Map)) r.fail("only a dict may have attributes");
  return undefined;
}

/**
 * Reads one pickle of `bytes` from `start`.
 * @param where the file, for errors
 * @returns the value, and the first byte after the pickle
 * @throws UnfinishedPickle when the bytes end before it does; FormatError for what is not allowed
 */
export function unpickle(
  where: string,
  bytes: Uint8Array,
  world: PickleWorld,
  start = 0,
): { readonly value: Pickled; readonly end: number } {
  const r = new Reader(where, bytes, start, world);
  for (;;) {
    const code = bytes[r.take(1)]!;
    const run = OPCODES.get(code);
    if (!run) {
      const name = REFUSED[code] ?? `0x${code.toString(16)}`;
      return r.fail(`opcode ${name} is not one that torch writes for a state dict`);
    }
    const value = run(r);
    if (value === DONE) return { value: r.pop(), end: r.at };
    if (value !== undefined) r.stack.push(value);
  }
}
