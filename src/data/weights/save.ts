/** Weights as a Hugging Face folder has them: one file of safetensors, or several beside their index. */
import { join } from "node:path";
import { FormatError } from "../../errors.ts";
import { removeFile, writeFileAtomic } from "../files.ts";
import { type TensorToWrite, writeSafetensors } from "./safetensors.ts";
import { bytesOf } from "./safetensors-header.ts";

const WHOLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/**
 * Writes `model.safetensors`, or, where the tensors take more than `maxShardBytes`, `model-00001-of-0000N.safetensors` and so
 * on with `model.safetensors.index.json`. A tensor is never cut. The index comes after its files, and what an earlier save has
 * left of the other form goes last: a reader always finds a whole model.
 * @throws FormatError as {@link writeSafetensors}; for a limit that is not a positive number
 */
export async function writeWeights(
  folder: string,
  tensors: readonly TensorToWrite[],
  maxShardBytes: number,
): Promise<void> {
  if (!(maxShardBytes > 0))
    throw new FormatError(`${folder}: expected a size of files above 0 bytes, got ${maxShardBytes}`);
  const shards = inShards(tensors, maxShardBytes);
  const write = (name: string, some: readonly TensorToWrite[]): Promise<void> =>
    writeSafetensors(join(folder, name), some, { format: "pt" });
  if (shards.length === 1) {
    await write(WHOLE, tensors);
    return removeFile(join(folder, INDEX));
  }
  const padded = (n: number): string => String(n).padStart(5, "0");
  const map: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const name = `model-${padded(i + 1)}-of-${padded(shards.length)}.safetensors`;
    await write(name, shard);
    for (const tensor of shard) map[tensor.name] = name;
  }
  const metadata = { total_size: tensors.reduce((sum, tensor) => sum + sizeOf(tensor), 0) };
  const index = `${JSON.stringify({ metadata, weight_map: map }, null, 2)}\n`;
  await writeFileAtomic(join(folder, INDEX), index);
  await removeFile(join(folder, WHOLE));
}

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
