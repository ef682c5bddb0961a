import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TensorToWrite } from "../../src/data/weights/safetensors.ts";
import { openSafetensors, writeSafetensors } from "../../src/data/weights/safetensors.ts";
import { FormatError, ShapeError } from "../../src/errors.ts";
import { formatErrorOf, sharedData, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();
let files = 0;

/** Writes a file with this header (an object, or raw text) and `dataBytes` bytes of data. */
function craft(header: unknown, dataBytes = 0, headerLength?: bigint): string {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(headerLength ?? BigInt(json.length));
  const path = join(folder, `crafted-${files++}.safetensors`);
  writeFileSync(path, Buffer.concat([prefix, json, Buffer.alloc(dataBytes, 1)]));
  return path;
}

const f32 = (shape: readonly number[], begin: number, end: number): unknown => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

describe("round trip", () => {
  const tensors: readonly TensorToWrite[] = [
    { name: "b.half", dtype: "F16", shape: [3], data: new Float32Array([1, -0.1, 65504]) },
    { name: "a", dtype: "F32", shape: [2, 2], data: new Float32Array([1.5, -2, NaN, Infinity]) },
    { name: "brain", dtype: "BF16", shape: [1, 2], data: () => new Float32Array([0.1, -3e38]) },
    { name: "0", dtype: "U32", shape: [2], data: async () => new Uint32Array([7, 4294967295]) },
    { name: "empty", dtype: "F32", shape: [0, 5], data: new Float32Array(0) },
    { name: "scalar", dtype: "F32", shape: [], data: new Float32Array([42]) },
  ];

  it.each(["F32", "F16", "BF16"] as const)(
    "reads %s of more than a piece, in parts as at once",
    async (dtype) => {
      const path = join(folder, `large-${dtype}.safetensors`);
      const data = Float32Array.from({ length: 2_500_001 }, (_, i) => (i % 509) / 4);
      await writeSafetensors(path, [{ name: "x", dtype, shape: [data.length], data }]);
      const checkpoint = await openSafetensors(path);
      const whole = await checkpoint.read("x");
      if (dtype !== "BF16") expect(whole.every((value, i) => value === data[i])).toBe(true);
      let first = 0;
      for await (const part of checkpoint.parts("x")) {
        expect(part.every((value, i) => value === whole[first + i])).toBe(true);
        first += part.length;
      }
      expect(first).toBe(data.length);
    },
  );

  it("reads back what was written, rounded to nearest even", async () => {
    const path = join(folder, "round.safetensors");
    await writeSafetensors(path, tensors, { format: "pt", step: "12" });
    const checkpoint = await openSafetensors(path);
    expect(checkpoint.metadata).toEqual({ format: "pt", step: "12" });
    expect([...checkpoint.tensors.keys()].sort()).toEqual(["0", "a", "b.half", "brain", "empty", "scalar"]);
    expect(checkpoint.tensors.get("a")).toMatchObject({ dtype: "F32", shape: [2, 2], count: 4 });
    expect([...(await checkpoint.read("a"))]).toEqual([1.5, -2, NaN, Infinity]);
    expect([...(await checkpoint.read("b.half"))]).toEqual([1, -0.0999755859375, 65504]);
    expect([...(await checkpoint.read("brain"))]).toEqual([0.10009765625, -(1 + 98 / 128) * 2 ** 127]);
    expect([...(await checkpoint.readU32("0"))]).toEqual([7, 4294967295]);
    expect((await checkpoint.read("empty")).length).toBe(0);
    expect([...(await checkpoint.read("scalar"))]).toEqual([42]);
  });

  it("writes the same bytes whatever the order, data aligned to 8", async () => {
    const [one, two] = [join(folder, "one.safetensors"), join(folder, "two.safetensors")];
    await writeSafetensors(one, tensors, { a: "1", b: "2" });
    await writeSafetensors(two, tensors.toReversed(), { b: "2", a: "1" });
    const bytes = readFileSync(one);
    expect(bytes.equals(readFileSync(two))).toBe(true);
    expect(Number(bytes.readBigUInt64LE()) % 8).toBe(0);
    for (const { offset, bytes: size, count } of (await openSafetensors(one)).tensors.values()) {
      expect(count === 0 ? 0 : offset % (size / count)).toBe(0);
    }
  });

  it("converts tensors larger than one piece", async () => {
    const values = Float32Array.from({ length: 2_500_000 }, (_, i) => (i % 4001) - 2000);
    const path = join(folder, "large.safetensors");
    const shape = [values.length];
    await writeSafetensors(path, [
      { name: "f16", dtype: "F16", shape, data: values },
      { name: "f32", dtype: "F32", shape, data: values },
    ]);
    const checkpoint = await openSafetensors(path);
    expect(Buffer.from((await checkpoint.read("f16")).buffer).equals(Buffer.from(values.buffer))).toBe(true);
    expect(Buffer.from((await checkpoint.read("f32")).buffer).equals(Buffer.from(values.buffer))).toBe(true);
  });

  it("reads F64 rounded and I64 exactly, refuses integers as weights", async () => {
    const header = {
      x: { dtype: "F64", shape: [1], data_offsets: [0, 8] },
      n: { dtype: "I64", shape: [1], data_offsets: [8, 16] },
    };
    const path = craft(header, 16);
    const bytes = readFileSync(path);
    bytes.writeDoubleLE(0.1, bytes.length - 16);
    bytes.writeBigInt64LE(-5n, bytes.length - 8);
    writeFileSync(path, bytes);
    const checkpoint = await openSafetensors(path);
    expect([...(await checkpoint.read("x"))]).toEqual([Math.fround(0.1)]);
    expect([...(await checkpoint.readI64("n"))]).toEqual([-5n]);
    expect(await formatErrorOf(checkpoint.read("n"))).toContain(
      "tensor n: expected F32, F16, BF16 or F64 values, got I64",
    );
    expect(await formatErrorOf(checkpoint.readU32("n"))).toContain("expected U32, got I64");
    expect(await formatErrorOf(checkpoint.read("y"))).toContain("no tensor y; it has 2: x, n");
  });
});

describe("refuses to write", () => {
  const path = join(folder, "refused.safetensors");
  const write = (...tensors: TensorToWrite[]): Promise<void> => writeSafetensors(path, tensors);

  it("data that do not fit the shape", async () => {
    const tensor: TensorToWrite = { name: "w", dtype: "F32", shape: [2, 3], data: new Float32Array(5) };
    await expect(write(tensor)).rejects.toThrow(ShapeError);
    await expect(write({ ...tensor, shape: [2.5] })).rejects.toThrow(ShapeError);
  });

  it("a name twice, a value beyond 16 bits; and leaves no file", async () => {
    const tensor: TensorToWrite = { name: "w", dtype: "F32", shape: [1], data: new Float32Array([70000]) };
    expect(await formatErrorOf(write(tensor, tensor))).toContain("tensor w: expected a name of its own");
    expect(await formatErrorOf(write({ ...tensor, dtype: "F16" }))).toContain(
      "70000 would become infinite in F16",
    );
    expect(readdirSync(folder).filter((name) => name.includes("refused"))).toEqual([]);
  });
});

describe("refuses to read", () => {
  it.each([
    ["a header longer than the file", { a: f32([1], 0, 4) }, 4, 10n ** 15n, "expected a header of 2 to"],
    [
      "an overlap",
      { a: f32([2], 0, 8), b: f32([1], 4, 8) },
      8,
      undefined,
      "tensor b: expected its data at byte 8, got 4: it overlaps",
    ],
    [
      "a gap",
      { a: f32([1], 0, 4), b: f32([1], 8, 12) },
      12,
      undefined,
      "tensor b: expected its data at byte 4, got 8: it leaves a gap",
    ],
    [
      "a file cut short",
      { a: f32([4], 0, 16) },
      12,
      undefined,
      "tensor a: its data end at byte 16, the file holds 12",
    ],
    ["bytes of no tensor", { a: f32([1], 0, 4) }, 6, undefined, "2 bytes after the last tensor"],
    [
      "a shape of another size",
      { a: f32([3], 0, 8) },
      8,
      undefined,
      "F32 [3] takes 12 bytes, its data_offsets give 8",
    ],
    ["an absurd shape", { a: f32([2 ** 40, 2 ** 40], 0, 8) }, 8, undefined, "bytes, its data_offsets give 8"],
    [
      "a negative size",
      { a: f32([-1, -2], 0, 8) },
      8,
      undefined,
      "expected a shape of at most 16 whole numbers",
    ],
    [
      "too many dimensions",
      { a: f32(Array(17).fill(1), 0, 4) },
      4,
      undefined,
      "expected a shape of at most 16",
    ],
    ["offsets in reverse", { a: f32([1], 4, 0) }, 4, undefined, "expected data_offsets [begin, end]"],
    ["no offsets", { a: { dtype: "F32", shape: [1] } }, 4, undefined, "expected data_offsets"],
    [
      "an unknown dtype",
      { a: { dtype: "F31", shape: [1], data_offsets: [0, 4] } },
      4,
      undefined,
      'got "F31"',
    ],
    [
      "a dtype named like a method",
      { a: { dtype: "toString", shape: [], data_offsets: [0, 4] } },
      4,
      undefined,
      "expected a dtype of",
    ],
    ["an entry that is no object", { a: 5 }, 0, undefined, "expected a dtype of"],
    ["metadata that are not strings", { __metadata__: { a: 1 } }, 0, undefined, "expected __metadata__"],
    ["a header that is a list", [], 0, undefined, "expected the header to be a JSON object"],
    ["malformed JSON", '{"a": }', 0, undefined, "malformed JSON at column 7"],
  ])("%s", async (_, header, dataBytes, headerLength, message) => {
    const path = craft(header, dataBytes, headerLength);
    const got = await formatErrorOf(openSafetensors(path));
    expect(got).toContain(path);
    expect(got).toContain(message);
  });

  it("missing, empty and foreign files", async () => {
    const empty = join(folder, "empty.safetensors");
    writeFileSync(empty, "");
    const foreign = join(folder, "foreign.safetensors");
    writeFileSync(foreign, "version https://git-lfs.github.com/spec/v1\n");
    expect(await formatErrorOf(openSafetensors(empty))).toContain("the file has 0");
    expect(await formatErrorOf(openSafetensors(foreign))).toContain("not a safetensors file");
    expect(await formatErrorOf(openSafetensors(join(folder, "none")))).toContain("no such file or folder");
    mkdirSync(join(folder, "bare"));
    expect(await formatErrorOf(openSafetensors(join(folder, "bare")))).toContain(
      "expected model.safetensors or",
    );
  });

  it("a file that was cut after it was opened", async () => {
    const path = craft({ a: f32([4], 0, 16) }, 16);
    const checkpoint = await openSafetensors(path);
    writeFileSync(path, readFileSync(path).subarray(0, -4));
    expect(await formatErrorOf(checkpoint.read("a"))).toContain("it is truncated");
  });
});

describe("shards", () => {
  const weights = (name: string): TensorToWrite => ({
    name,
    dtype: "F32",
    shape: [1],
    data: new Float32Array([name.length]),
  });

  async function sharded(map: Record<string, string>): Promise<string> {
    const path = join(folder, `sharded-${files++}`);
    await writeSafetensors(join(path, "model-1.safetensors"), [weights("a"), weights("bb")]);
    await writeSafetensors(join(path, "model-2.safetensors"), [weights("ccc")]);
    writeFileSync(
      join(path, "model.safetensors.index.json"),
      JSON.stringify({ metadata: {}, weight_map: map }),
    );
    return path;
  }
  const map = { a: "model-1.safetensors", bb: "model-1.safetensors", ccc: "model-2.safetensors" };

  it("reads all of them through the index", async () => {
    const checkpoint = await openSafetensors(await sharded(map));
    expect([...checkpoint.tensors.keys()]).toEqual(["a", "bb", "ccc"]);
    expect([...(await checkpoint.read("ccc"))]).toEqual([3]);
  });

  it.each([
    ["a tensor that no shard has", { ...map, d: "model-2.safetensors" }, "tensor d is missing from model-2"],
    [
      "a tensor in the wrong shard",
      { ...map, a: "model-2.safetensors" },
      "tensor a is in model-1.safetensors, the index says model-2",
    ],
    [
      "a tensor that the index leaves out",
      { a: map.a, ccc: map.ccc },
      "tensor bb is in model-1.safetensors, the index says nothing",
    ],
    ["a path out of the folder", { ...map, a: "../model-1.safetensors" }, "beside the index"],
    ["a shard that is missing", { ...map, d: "model-3.safetensors" }, "model-3.safetensors: no such file"],
  ])("refuses %s", async (_, weightMap, message) => {
    expect(await formatErrorOf(openSafetensors(await sharded(weightMap)))).toContain(message);
  });
});

describe("fuzz", () => {
  it("throws nothing but FormatError on random headers, and reads what it accepts", async () => {
    const size = fc.oneof(fc.integer({ min: -2, max: 9 }), fc.double(), fc.constant(2 ** 52));
    const entry = fc.record(
      {
        dtype: fc.oneof(fc.constantFrom("F32", "F16", "BF16", "U8", "I64", "F99"), fc.anything()),
        shape: fc.oneof(fc.array(size, { maxLength: 3 }), fc.anything()),
        data_offsets: fc.oneof(fc.array(size, { minLength: 2, maxLength: 2 }), fc.anything()),
      },
      { requiredKeys: [] },
    );
    const header = fc.dictionary(
      fc.oneof(fc.string(), fc.constantFrom("__metadata__", "__proto__")),
      fc.oneof(entry, fc.jsonValue()),
      { maxKeys: 3 },
    );
    const path = join(folder, "fuzz.safetensors");
    await fc.assert(
      fc.asyncProperty(header, fc.nat(40), async (fields, dataBytes) => {
        const json = Buffer.from(safeJson(fields));
        const prefix = Buffer.alloc(8);
        prefix.writeBigUInt64LE(BigInt(json.length));
        await openAndReadAll(path, Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]));
      }),
      { numRuns: 300 },
    );
  });

  it("throws nothing but FormatError on a good file with bytes changed or cut", async () => {
    const good = join(folder, "fuzz-good.safetensors");
    await writeSafetensors(good, [
      { name: "w", dtype: "F32", shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) },
      { name: "h", dtype: "BF16", shape: [3], data: new Float32Array([1, 2, 3]) },
    ]);
    const bytes = readFileSync(good);
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 4 }), fc.nat(bytes.length), async (changes, kept) => {
        const broken = Buffer.from(bytes);
        for (const [at, value] of changes) broken[at] = value;
        await openAndReadAll(join(folder, "fuzz.safetensors"), broken.subarray(0, kept));
        await openAndReadAll(join(folder, "fuzz.safetensors"), broken);
      }),
      { numRuns: 300 },
    );
  });

  /** Opens and reads every tensor; whatever is allocated for it must be of the order of the file. */
  async function openAndReadAll(path: string, bytes: Buffer): Promise<void> {
    writeFileSync(path, bytes);
    try {
      const checkpoint = await openSafetensors(path);
      for (const { name, bytes: size } of checkpoint.tensors.values()) {
        expect(size).toBeLessThanOrEqual(bytes.length);
        const values = await checkpoint.read(name);
        expect(values.byteLength).toBeLessThanOrEqual(2 * bytes.length);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(FormatError);
    }
  }

  function safeJson(value: unknown): string {
    try {
      return JSON.stringify(value) ?? "{}";
    } catch {
      return "{}";
    }
  }
});

const stories = sharedData("stories260K");
it.skipIf(stories === undefined)("opens a published checkpoint", async () => {
  const checkpoint = await openSafetensors(stories as string);
  expect(checkpoint.tensors.get("model.embed_tokens.weight")).toMatchObject({
    dtype: "F32",
    shape: [512, 64],
  });
  const parameters = [...checkpoint.tensors.values()].reduce((sum, { count }) => sum + count, 0);
  expect(parameters).toBe(260032);
  const weight = await checkpoint.read("model.norm.weight");
  expect(weight.length).toBe(64);
  expect(weight.every(Number.isFinite)).toBe(true);
});
