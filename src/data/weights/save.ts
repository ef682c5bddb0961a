/** Weights as a Hugging Face folder has them: one file of safetensors, or several beside their index. */
import { FormatError } from "../../errors.ts";
import { join, removeFile, replaceFile } from "../files.ts";
import { safetensorsPieces, type TensorToWrite } from "./safetensors.ts";
import { bytesOf } from "./safetensors-header.ts";

const WHOLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** A file to be written. */
export interface NewFile {
  readonly name: string;
  /** Its bytes; each piece is valid until the next one is asked for. */
  pieces(): AsyncIterable<Uint8Array>;
}

/**
 * `model.safetensors`, or, where the tensors take more than `maxShardBytes`, `model-00001-of-0000N.safetensors` and so
 * on, then `model.safetensors.index.json`. A tensor is never cut.
 * @param where what messages call the files' folder
 * @throws FormatError for a limit that is not a positive number; as they are read, as `writeSafetensors`
 */
export function weightFiles(
  where: string,
  tensors: readonly TensorToWrite[],
  maxShardBytes: number,
): NewFile[] {
  if (!(maxShardBytes > 0))
    throw new FormatError(`${where}: expected a size of files above 0 bytes, got ${maxShardBytes}`);
  const shards = inShards(tensors, maxShardBytes);
  const fileOf = (name: string, some: readonly TensorToWrite[]): NewFile => ({
    name,
    pieces: () => safetensorsPieces(`${where}/${name}`, some, { format: "pt" }),
  });
  if (shards.length === 1) return [fileOf(WHOLE, tensors)];
  const padded = (n: number): string => String(n).padStart(5, "0");
  const named = shards.map(
    (shard, i) => [`model-${padded(i + 1)}-of-${padded(shards.length)}.safetensors`, shard] as const,
  );
  const map = named.flatMap(([name, shard]) => shard.map((tensor) => [tensor.name, name] as const));
  const metadata = { total_size: tensors.reduce((sum, tensor) => sum + sizeOf(tensor), 0) };
  const index = `${JSON.stringify({ metadata, weight_map: Object.fromEntries(map) }, null, 2)}\n`;
  return [...named.map(([name, shard]) => fileOf(name, shard)), textFile(INDEX, index)];
}

/** A file of text. */
export const textFile = (name: string, text: string): NewFile => ({
  name,
  async *pieces() {
    yield new TextEncoder().encode(text);
  },
});

/**
 * Writes {@link weightFiles} into `folder`, each by rename. The index comes after its files, and what an earlier save has
 * left of the other form goes last: a reader always finds a whole model.
 * @throws FormatError as there
 */
export async function writeWeights(
  folder: string,
  tensors: readonly TensorToWrite[],
  maxShardBytes: number,
): Promise<void> {
  const files = weightFiles(folder, tensors, maxShardBytes);
  for (const file of files) await writeNew(folder, file);
  await removeFile(join(folder, files.length === 1 ? INDEX : WHOLE));
}

/** Writes `file` into `folder`, by rename. */
export const writeNew = (folder: string, { name, pieces }: NewFile): Promise<void> =>
  replaceFile(join(folder, name), async (append) => {
    for await (const piece of pieces()) await append(piece);
  });

const sizeOf = ({ shape, dtype }: TensorToWrite): number =>
  shape.reduce((product, size) => product * size, bytesOf(dtype));

/** In the order given; a file is closed when the next tensor would make it too large. */
function inShards(tensors: readonly TensorToWrite[], most: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    const bytes = sizeOf(tensor);
    if (filled > 0 && filled + bytes > most) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)!.push(tensor);
    filled += bytes;
  }
  return shards;
}
