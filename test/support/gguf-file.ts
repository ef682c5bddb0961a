/** A file of GGUF as Hugging Face's own parser reads it, and its tensors' values. */
import { gguf } from "@huggingface/gguf";
import { readFileSync } from "node:fs";
import { widen } from "../../src/tensor/half.ts";

/** A tensor: its sizes row-major, as torch has them. */
export interface GgufTensor {
  readonly shape: readonly number[];
  readonly dtype: "F32" | "F16" | "BF16";
  readonly values: Float32Array;
}

/** All that a file says. */
export interface GgufFile {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const DTYPES: Readonly<Record<number, GgufTensor["dtype"]>> = { 0: "F32", 1: "F16", 30: "BF16" };

export async function readGguf(path: string): Promise<GgufFile> {
  const { metadata, tensorInfos, tensorDataOffset } = await gguf(path, { allowLocalFile: true });
  const bytes = readFileSync(path);
  const tensors = tensorInfos.map(({ name, shape, dtype: code, offset }): [string, GgufTensor] => {
    const dtype = DTYPES[code];
    if (dtype === undefined) throw new Error(`${name}: type ${code}`);
    const sizes = shape.map(Number).toReversed();
    const count = sizes.reduce((a, b) => a * b, 1);
    const start = Number(tensorDataOffset + offset);
    const raw = bytes.buffer.slice(
      bytes.byteOffset + start,
      bytes.byteOffset + start + count * (dtype === "F32" ? 4 : 2),
    );
    const values = dtype === "F32" ? new Float32Array(raw) : new Float32Array(count);
    if (dtype !== "F32") widen(dtype, new Uint16Array(raw), values);
    return [name, { shape: sizes, dtype, values }];
  });
  return { metadata: metadata as Record<string, unknown>, tensors: new Map(tensors) };
}
