/**
 * Checkpoints of a run: everything it carries from one step to the next, in `checkpoint/` of its folder. A new one is
 * written beside the old one and takes its place by rename, so that a kill at any moment leaves a complete one.
 */
import { exists, join, movePath, readJson, removeFolder, writeFileAtomic } from "../data/files.ts";
import { isRecord } from "../data/json.ts";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../data/weights/safetensors.ts";
import { FormatError } from "../errors.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { Optimizer } from "../optim/adamw.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What a run carries on the GPU. */
export interface Carried {
  /** Weights and moments by name, all f32. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Their step counts are saved in this order. */
  readonly optimizers: readonly Optimizer[];
}

/** What a run carries beside: the next step, where it is in its data and its random numbers. JSON values. */
export interface RunState {
  /** Optimizer steps taken. */
  readonly step: number;
  readonly [name: string]: unknown;
}

const NAME = "checkpoint";
const TENSORS = "tensors.safetensors";
const FORMAT = "vbon-checkpoint-1";

/** The weights of `parameters` and the moments of `optimizer`, under `prefix` so that several models fit one checkpoint. */
export function carriedOf(parameters: Parameters, optimizer: Optimizer, prefix = ""): Carried {
  const entries = [...parameters, ...optimizer.tensors].map(
    ([name, tensor]) => [prefix + name, tensor] as const,
  );
  return { tensors: new Map(entries), optimizers: [optimizer] };
}

/** Writes a checkpoint into `run` (a folder), in place of the one that is there. */
export async function saveCheckpoint(run: string, carried: Carried, state: RunState): Promise<void> {
  const [now, next, last] = [NAME, `${NAME}.new`, `${NAME}.old`].map((name) => join(run, name)) as [
    string,
    string,
    string,
  ];
  await removeFolder(next);
  const tensors = [...carried.tensors].map(([name, tensor]): TensorToWrite => {
    return { name, dtype: "F32", shape: tensor.shape, data: () => tensor.pieces() };
  });
  await writeSafetensors(join(next, TENSORS), tensors);
  const optimizerSteps = carried.optimizers.map((o) => o.steps);
  await writeFileAtomic(
    join(next, "state.json"),
    `${JSON.stringify({ format: FORMAT, ...state, optimizerSteps }, null, 2)}\n`,
  );
  // Between the two renames there is no `checkpoint`, and `checkpoint.old` is complete: loading looks there too.
  if (await exists(now)) {
    await removeFolder(last);
    await movePath(now, last);
  }
  await movePath(next, now);
  await removeFolder(last);
}

/** The folder of the checkpoint of `run`; undefined where none has been written yet. */
export async function findCheckpoint(run: string): Promise<string | undefined> {
  for (const name of [NAME, `${NAME}.old`]) {
    if (await exists(join(run, name))) return join(run, name);
  }
  return undefined;
}

/**
 * Restores what {@link saveCheckpoint} wrote, bit for bit.
 * @param folder as {@link findCheckpoint} gives it
 * @returns the state
 * @throws FormatError when the checkpoint is corrupt, or of another model than `carried`
 */
export async function loadCheckpoint(folder: string, carried: Carried): Promise<RunState> {
  const { optimizerSteps, state } = await readState(folder);
  const source = await openSafetensors(join(folder, TENSORS));
  const missing = [...carried.tensors.keys()].find((name) => !source.tensors.has(name));
  if (missing ?? optimizerSteps.length !== carried.optimizers.length) {
    throw new FormatError(
      `${folder}: expected a checkpoint of this model, it has no ${missing ?? "state of each optimizer"}; was the run started with other settings?`,
    );
  }
  for (const [name, tensor] of carried.tensors) {
    const { shape } = source.tensors.get(name)!;
    if (String(shape) !== String(tensor.shape)) {
      throw new FormatError(
        `${folder}: ${name}: expected [${tensor.shape}], got [${shape}]; was the run started with other settings?`,
      );
    }
    tensor.write(await source.read(name));
  }
  carried.optimizers.forEach((optimizer, i) => (optimizer.steps = optimizerSteps[i]!));
  return state;
}

async function readState(folder: string): Promise<{ optimizerSteps: number[]; state: RunState }> {
  const path = join(folder, "state.json");
  const value = await readJson(path);
  if (!isRecord(value) || value["format"] !== FORMAT || typeof value["step"] !== "number") {
    throw new FormatError(`${path}: expected the state of a checkpoint, format ${FORMAT}`);
  }
  const { format: _, optimizerSteps, ...state } = value;
  return { optimizerSteps: optimizerSteps as number[], state: state as RunState };
}
