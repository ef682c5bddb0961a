/** Checkpoints in several files beside an index, `{"weight_map": {tensor: file}}`. */
import { FormatError } from "../../errors.ts";
import type { Folder } from "../folder.ts";
import { isRecord } from "../json.ts";
import { type FileReader, jsonOf } from "../reader.ts";
import type { Header, TensorInfo } from "./safetensors-header.ts";

/**
 * Reads every shard that `index` names with `readShard`; later metadata win.
 * @param folder where index and shards are
 * @param ending what the shards' names end with
 * @throws FormatError when index and shards do not agree exactly
 */
export async function readShards<T extends TensorInfo>(
  folder: Folder,
  index: FileReader,
  ending: string,
  readShard: (file: FileReader) => Promise<Header<T>>,
): Promise<Header<T>> {
  const shardOf = readWeightMap(index.path, ending, await jsonOf(index));
  const tensors: T[] = [];
  let metadata: Record<string, string> = {};
  for (const shard of [...new Set(shardOf.values())].sort()) {
    const header = await readShard(await folder.open(shard));
    tensors.push(...header.tensors);
    metadata = { ...metadata, ...header.metadata };
  }
  checkShards(index.path, shardOf, tensors);
  return { tensors, metadata };
}

function readWeightMap(indexPath: string, ending: string, index: unknown): Map<string, string> {
  const map = isRecord(index) ? index["weight_map"] : undefined;
  if (!isRecord(map)) throw new FormatError(`${indexPath}: expected {"weight_map": {tensor: file}}`);
  const shardOf = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    // A shard is a file beside its index: a path would let a checkpoint read outside its own folder.
    if (typeof file !== "string" || !/^[^/\\]+$/.test(file) || !file.endsWith(ending)) {
      throw new FormatError(
        `${indexPath}: tensor ${name}: expected the name of a ${ending} file beside the index, got ${JSON.stringify(file)}`,
      );
    }
    shardOf.set(name, file);
  }
  return shardOf;
}

/** Index and shards must agree exactly: a mixture of two downloads does not. */
function checkShards(
  indexPath: string,
  shardOf: ReadonlyMap<string, string>,
  tensors: readonly TensorInfo[],
): void {
  const remedy = "index and shards are not of one checkpoint: download all of them again";
  for (const { name, file } of tensors) {
    const expected = shardOf.get(name);
    if (expected === file.name) continue;
    throw new FormatError(
      `${indexPath}: tensor ${name} is in ${file.name}, the index says ${expected ?? "nothing of it"}; ${remedy}`,
    );
  }
  const found = new Set(tensors.map(({ name }) => name));
  for (const [name, file] of shardOf) {
    if (!found.has(name)) {
      throw new FormatError(`${indexPath}: tensor ${name} is missing from ${file}; ${remedy}`);
    }
  }
}
