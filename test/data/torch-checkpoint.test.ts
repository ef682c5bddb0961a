/**
 * torch.save's files: what torch 1.13 wrote (fixtures/torch), and what an enemy would.
 * The fixtures: `d = OrderedDict(a=arange(6.).reshape(2, 3), turned=a.t(), row=a[1], column=a[:, 1], …)` with the
 * attribute `_metadata`, saved as a zip file and with `_use_new_zipfile_serialization=False`; a `Linear` saved whole;
 * and `{"epoch": 3, "model": d}`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Checkpoint } from "../../src/data/weights/safetensors.ts";
import { openTorchCheckpoint } from "../../src/data/weights/torch-checkpoint.ts";
import { FormatError } from "../../src/errors.ts";
import {
  dict,
  op,
  pickle,
  tensor,
  type TensorClaim,
  torchZip,
  zip,
  type ZipFaults,
} from "../support/torch-file.ts";
import { formatErrorOf, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();
const fixture = (name: string): string => new URL(`../fixtures/torch/${name}`, import.meta.url).pathname;
let files = 0;

function open(bytes: Uint8Array): Promise<Checkpoint> {
  const path = join(folder, `${files++}.bin`);
  writeFileSync(path, bytes);
  return openTorchCheckpoint(path);
}

/** A zip file with this pickle, and one storage of 24 bytes. */
const withPickle = (value: Buffer, faults?: ZipFaults): Promise<Checkpoint> =>
  open(zip({ "m/data.pkl": value, "m/data/0": Buffer.alloc(24, 1) }, faults));

const withTensor = (claim: Partial<TensorClaim>): Promise<Checkpoint> =>
  withPickle(pickle(dict({ x: tensor({ key: "0", count: 6, shape: [2, 3], ...claim }) })));

describe.each(["zip.bin", "older.bin"])("what torch wrote: %s", (name) => {
  it("is read value by value, views and halves too", async () => {
    const checkpoint = await openTorchCheckpoint(fixture(name));
    const read = async (key: string): Promise<number[]> => [...(await checkpoint.read(key))];
    expect(checkpoint.tensors.get("turned")).toMatchObject({ dtype: "F32", shape: [3, 2], count: 6 });
    expect(await read("a")).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await read("turned")).toEqual([0, 3, 1, 4, 2, 5]);
    expect(await read("row")).toEqual([3, 4, 5]);
    expect(await read("column")).toEqual([1, 4]);
    expect(await read("half")).toEqual([1, -0.0999755859375, 65504]);
    expect(await read("brain")).toEqual([0.10009765625, -(1 + 98 / 128) * 2 ** 127]);
    expect(await read("double")).toEqual([Math.fround(0.1), 2]);
    expect(await read("scalar")).toEqual([42]);
    expect(await read("empty")).toEqual([]);
    expect([...(await checkpoint.readI64("long"))]).toEqual([1n, -2n]);
    expect(await formatErrorOf(checkpoint.read("flags"))).toContain("got BOOL");
  });

  it("throws nothing but FormatError with bytes changed or cut", { timeout: 120_000 }, async () => {
    const good = readFileSync(fixture(name));
    const place = fc.nat(good.length - 1);
    const changes = fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 6 });
    const property = fc.asyncProperty(changes, fc.option(place), async (edits, cut) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of edits) bytes[at] = value;
      await opensOrRefuses(bytes.subarray(0, cut ?? bytes.length));
    });
    await fc.assert(property, { numRuns: 1000 });
  });
});

/** Reads all tensors, or fails as a user would see it; nothing takes more memory than the file has bytes. */
async function opensOrRefuses(bytes: Uint8Array): Promise<void> {
  try {
    const checkpoint = await open(bytes);
    for (const [name, { count }] of checkpoint.tensors) {
      expect(count).toBeLessThanOrEqual(bytes.length);
      await checkpoint.read(name);
    }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
  }
}

describe("round trips", () => {
  const shape = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });
  const someTensors = fc.dictionary(fc.string({ minLength: 1 }), shape, { maxKeys: 5 });

  it("read what was written, whatever names and shapes", async () => {
    const property = fc.asyncProperty(someTensors, async (shapes) => {
      const tensors = Object.fromEntries(
        Object.entries(shapes).map(([name, dims], i) => {
          const data = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, n) => n + i / 8);
          return [name, { shape: dims, data }];
        }),
      );
      const checkpoint = await open(torchZip(tensors));
      expect([...checkpoint.tensors.keys()]).toEqual(Object.keys(tensors));
      for (const [name, { shape: dims, data }] of Object.entries(tensors)) {
        expect(checkpoint.tensors.get(name)!.shape).toEqual(dims);
        expect(await checkpoint.read(name)).toEqual(data);
      }
    });
    await fc.assert(property, { numRuns: 100 });
  });

  it("throw nothing but FormatError on random pickles", async () => {
    const codes = fc.constantFrom(
      ...Buffer.from("(}])tRqhXKMJNQbuesac.\x85\x86\x87\x88\x89\x8aGrj", "latin1"),
    );
    const soup = fc.array(fc.oneof(codes, codes, fc.nat(255)), { maxLength: 60 });
    const property = fc.asyncProperty(soup, (bytes) =>
      opensOrRefuses(zip({ "m/data.pkl": pickle(Buffer.from(bytes)) })),
    );
    await fc.assert(property, { numRuns: 500 });
  });
});

it("reads sizes and places in 64 bits, and refuses those beyond the file", async () => {
  const large = zip(
    {
      "m/data.pkl": pickle(dict({ x: tensor({ key: "0", count: 6, shape: [6] }) })),
      "m/data/0": Buffer.alloc(24),
    },
    { large: true },
  );
  expect([...(await (await open(large)).read("x"))]).toEqual([0, 0, 0, 0, 0, 0]);
  for (const [from, value] of [
    [large.length - 22 - 20 - 24, 2n ** 40n],
    [large.length - 22 - 20 - 8, 2n ** 63n],
    [large.length - 22 - 12, 5n],
  ] as const) {
    const spoilt = Buffer.from(large);
    spoilt.writeBigUInt64LE(value, from);
    expect(await formatErrorOf(open(spoilt))).toContain("not a zip file as torch writes it");
  }
  const property = fc.asyncProperty(fc.nat(large.length - 1), fc.nat(255), async (at, value) => {
    const spoilt = Buffer.from(large);
    spoilt[at] = value;
    await opensOrRefuses(spoilt);
  });
  await fc.assert(property, { numRuns: 500 });
});

describe("pickles that are refused", () => {
  const evil = op.reduce(op.global("os", "system"), op.tuple(op.text("echo")));

  it.each([
    ["a call of the system", evil, "the pickle names os.system; only tensors in a state dict are read"],
    ["eval", op.reduce(op.global("builtins", "eval"), op.tuple(op.text("1"))), "names builtins.eval"],
    [
      "another function of torch",
      op.global("torch._utils", "_rebuild_parameter"),
      "names torch._utils._rebuild_parameter",
    ],
    ["a prototype's name", op.global("torch", "__proto__"), "names torch.__proto__"],
    [
      "a call of a storage type",
      op.reduce(op.global("torch", "FloatStorage"), Buffer.of(0x29)),
      "calls what is no tensor",
    ],
    [
      "a dict with arguments",
      op.reduce(op.global("collections", "OrderedDict"), op.tuple(op.int(1))),
      "calls what is no",
    ],
    ["INST", Buffer.from("(ios\nsystem\n"), "opcode INST is not one that torch writes"],
    ["NEWOBJ", Buffer.of(0x29, 0x29, 0x81), "opcode NEWOBJ"],
    [
      "STACK_GLOBAL",
      Buffer.concat([op.text("os"), op.text("system"), Buffer.of(0x93)]),
      "opcode STACK_GLOBAL",
    ],
    ["an opcode that is none", Buffer.of(0xff), "opcode 0xff"],
    ["a protocol that torch does not write", Buffer.of(0x80, 4), "its protocol is 4; torch writes 2"],
    ["a number alone", op.int(3), "expected a state dict"],
    [
      "a dict of numbers",
      dict({ epoch: op.int(3) }),
      "expected a state dict, names and tensors; epoch is something else",
    ],
    ["values that are missing", Buffer.of(0x52), "a value is missing"],
    ["marks that are missing", Buffer.of(0x74), "a mark is missing"],
    ["what was not kept", op.get(7), "nothing was kept as 7"],
    ["a text longer than the pickle", Buffer.of(0x58, 0xff, 0xff, 0xff, 0x7f), "the pickle is truncated"],
    [
      "a storage as a tensor",
      dict({
        x: Buffer.concat([
          op.tuple(
            op.text("storage"),
            op.global("torch", "FloatStorage"),
            op.text("0"),
            op.text("cpu"),
            op.int(6),
          ),
          Buffer.of(0x51),
        ]),
      }),
      "x is something else",
    ],
  ])("%s", async (_, value, message) => {
    expect(await formatErrorOf(withPickle(pickle(value)))).toContain(message);
  });

  it("tar files of before 0.1.10, by name", async () => {
    const block = Buffer.alloc(1024);
    block.write("sys_info", 0);
    block.write("ustar  \0", 257, "latin1");
    expect(await formatErrorOf(open(block))).toContain(
      "it is a tar file, as torch.save wrote them before PyTorch 0.1.10 (2017), which are not read; torch.load it",
    );
  });

  it("whole models and training checkpoints", async () => {
    expect(await formatErrorOf(openTorchCheckpoint(fixture("module.bin")))).toContain(
      "the pickle names torch.nn.modules.linear.Linear",
    );
    expect(await formatErrorOf(openTorchCheckpoint(fixture("training.bin")))).toContain(
      "epoch is something else",
    );
  });
});

describe("tensors that are refused", () => {
  it.each<[string, Partial<TensorClaim>, string]>([
    ["beyond their storage", { shape: [3, 3] }, "a tensor of the pickle is malformed"],
    ["that begin too late", { start: 1 }, "malformed"],
    ["that begin before it", { start: -1 }, "malformed"],
    ["of negative sizes", { shape: [-2, -3] }, "malformed"],
    ["of more elements than their storage (stride 0)", { shape: [2_000_000_000], strides: [0] }, "malformed"],
    [
      "of sizes that overflow",
      { shape: [2 ** 30, 2 ** 30, 0, 2 ** 30], start: 7, strides: [0, 0, 0, 0], count: 6, key: "1" },
      "storage 1, got none",
    ],
    ["with fewer strides than sizes", { strides: [1] }, "malformed"],
    ["of 17 dimensions", { shape: Array.from({ length: 17 }, () => 1) }, "malformed"],
    [
      "whose storage has another size",
      { count: 600_000_000, shape: [600_000_000] },
      "expected 2400000000 bytes of storage 0, got 24",
    ],
    ["whose storage is elsewhere", { key: "../../secret" }, "storage ../../secret, got none"],
    ["of a kind that does not exist", { type: "QInt8Storage" }, "the pickle names torch.QInt8Storage"],
  ])("%s", async (_, claim, message) => {
    expect(await formatErrorOf(withTensor(claim))).toContain(message);
  });

  it("whose sizes change after they were checked", async () => {
    const id = op.tuple(
      op.text("storage"),
      op.global("torch", "FloatStorage"),
      op.text("0"),
      op.text("cpu"),
      op.int(6),
    );
    const storage = Buffer.concat([id, Buffer.of(0x51)]);
    const kept = (key: number): Buffer => Buffer.concat([op.tuple(op.int(6)), op.put(key)]);
    const strides = Buffer.concat([op.tuple(op.int(1)), op.put(8)]);
    const call = op.reduce(
      op.global("torch._utils", "_rebuild_tensor_v2"),
      op.tuple(storage, op.int(0), kept(7), strides, op.no(), op.none()),
    );
    const grow = (key: number, n: number): Buffer => Buffer.concat([op.get(key), op.int(n), op.append()]);
    // The grown tuples lie below the dict: the pickle ends with the dict on top.
    const value = Buffer.concat([call, op.put(9), grow(7, 1_000_000), grow(8, 1), dict({ x: op.get(9) })]);
    const checkpoint = await withPickle(pickle(value));
    expect(checkpoint.tensors.get("x")).toMatchObject({ shape: [6], count: 6 });
  });
});

describe("zip files that are refused", () => {
  const good = pickle(dict({}));

  it.each<[string, ZipFaults, string]>([
    ["compressed", { method: 8 }, "entry m/data.pkl is compressed (method 8)"],
    ["encrypted", { flags: 1 }, "entry m/data.pkl is encrypted"],
    ["with entries that overlap", { place: 0 }, "overlaps its neighbour"],
    ["with entries beyond the file", { bytes: 0x7fffffff }, "overlaps its neighbour or leaves the file"],
    ["with entries in 64 bits that are not there", { bytes: 0xffffffff }, "lacks its 64-bit size"],
    ["with more entries than bytes", { entries: 60_000 }, "60000 entries"],
    ["with headers elsewhere", { place: 3 }, "is not where it should be"],
  ])("%s", async (_, faults, message) => {
    expect(await formatErrorOf(withPickle(good, faults))).toContain(message);
  });

  it("without a pickle, with two, cut, or of another kind", async () => {
    expect(await formatErrorOf(open(zip({ "m/x": good })))).toContain("expected one data.pkl");
    expect(await formatErrorOf(open(zip({ "m/data.pkl": good, "n/data.pkl": good })))).toContain(
      "expected one data.pkl",
    );
    expect(await formatErrorOf(open(zip({ "m/data.pkl": good }).subarray(0, -3)))).toContain("truncated");
    expect(
      await formatErrorOf(open(zip({ "m/data.pkl": good, "m/byteorder": Buffer.from("big") }))),
    ).toContain('expected "little"');
    expect(await formatErrorOf(open(Buffer.from("GGUF, say")))).toContain("expected a file of torch.save");
    expect(await formatErrorOf(open(Buffer.alloc(0)))).toContain("expected a file of torch.save");
    expect(await formatErrorOf(open(pickle(op.int(3))))).toContain("truncated");
  });
});
