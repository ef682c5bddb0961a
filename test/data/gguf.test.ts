/** Files of GGUF: what an independent parser reads in them, and what is refused. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { writeGguf } from "../../src/data/weights/gguf.ts";
import { f32, u32 } from "../../src/data/weights/gguf-values.ts";
import { ShapeError } from "../../src/errors.ts";
import { readGguf } from "../support/gguf-file.ts";
import { formatErrorOf, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();
const values = Float32Array.from([1, -2.5, 0.1, 65504, 0, -0, 3]);
const tensor = (name: string, dtype: "F32" | "F16" | "BF16" = "F32", data = values) => ({
  name,
  dtype,
  shape: [data.length],
  data,
});

describe("writeGguf", () => {
  it("writes every kind of value", async () => {
    const path = join(folder, "values.gguf");
    await writeGguf(
      path,
      {
        "general.architecture": "naïve 🙂",
        "x.yes": true,
        "x.no": false,
        "x.count": u32(2 ** 32 - 1),
        "x.real": f32(0.1),
        "x.texts": { type: "string", values: ["", "Ġ", "\n", "日本"] },
        "x.ids": { type: "i32", values: [-1, 0, 2 ** 31 - 1] },
        "x.scores": { type: "f32", values: [-0.5, 1e30] },
        "x.none": { type: "string", values: [] },
        "x.long": "a".repeat(100_000),
      },
      [],
    );
    const { metadata } = await readGguf(path);
    expect(metadata).toMatchObject({
      version: 3,
      tensor_count: 0n,
      kv_count: 10n,
      "general.architecture": "naïve 🙂",
      "x.yes": true,
      "x.no": false,
      "x.count": 2 ** 32 - 1,
      "x.real": Math.fround(0.1),
      "x.texts": ["", "Ġ", "\n", "日本"],
      "x.ids": [-1, 0, 2 ** 31 - 1],
      "x.scores": [-0.5, Math.fround(1e30)],
      "x.none": [],
      "x.long": "a".repeat(100_000),
    });
  });

  it("writes tensors one after another, each at a multiple of 32 bytes, in three dtypes", async () => {
    const path = join(folder, "tensors.gguf");
    const matrix = {
      name: "m",
      dtype: "F32" as const,
      shape: [2, 3],
      data: Float32Array.from([1, 2, 3, 4, 5, 6]),
    };
    await writeGguf(path, {}, [
      tensor("a"),
      tensor("half", "F16"),
      matrix,
      tensor("brain", "BF16"),
      tensor("z"),
    ]);
    const { tensors } = await readGguf(path);
    expect([...tensors.keys()]).toEqual(["a", "half", "m", "brain", "z"]);
    expect(tensors.get("a")).toEqual({ shape: [7], dtype: "F32", values });
    expect(tensors.get("m")).toEqual({ shape: [2, 3], dtype: "F32", values: matrix.data });
    expect(tensors.get("half")!.values[2]).toBe(0.0999755859375);
    expect(tensors.get("half")!.values[3]).toBe(65504);
    expect(tensors.get("brain")!.values[2]).toBe(0.10009765625);
    expect(Object.is(tensors.get("z")!.values[5], -0)).toBe(true);
    expect(statSync(path).size % 32).toBe(0);
  });

  it("takes values in pieces, and refuses too few of them", async () => {
    const path = join(folder, "pieces.gguf");
    async function* pieces(): AsyncGenerator<Float32Array> {
      yield values.subarray(0, 3);
      yield await Promise.resolve(values.subarray(3));
    }
    await writeGguf(path, {}, [{ ...tensor("a"), data: pieces }]);
    expect((await readGguf(path)).tensors.get("a")!.values).toEqual(values);
    const short = writeGguf(join(folder, "short.gguf"), {}, [{ ...tensor("a"), shape: [8] }]);
    await expect(short).rejects.toThrow(ShapeError);
    expect(existsSync(join(folder, "short.gguf"))).toBe(false);
  });

  it("refuses a name given twice, and what no f16 can hold; the old file stays", async () => {
    const path = join(folder, "kept.gguf");
    await writeGguf(path, {}, [tensor("a")]);
    expect(await formatErrorOf(writeGguf(path, {}, [tensor("a"), tensor("a")]))).toContain(
      "tensor a: expected a name of its own",
    );
    const large = tensor("large", "F16", Float32Array.from([1, 70000]));
    expect(await formatErrorOf(writeGguf(path, {}, [large]))).toContain("70000 would become infinite in F16");
    expect([...(await readGguf(path)).tensors.keys()]).toEqual(["a"]);
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});
