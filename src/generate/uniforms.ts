/** Random numbers on the GPU, keyed by (seed, stream, position): they belong to a sample, whatever batch it is in. */
import { grid } from "../gpu/call.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call, need } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("uniforms");

/** What the random number of each row is a function of; all u32. */
export interface SamplingState {
  /** [2], low word first. */
  readonly seed: Tensor;
  /** [B, 2]: the random stream of each row's sample, low word first. */
  readonly streams: Tensor;
  /** [B]: how many tokens each row's sample has drawn before. */
  readonly positions: Tensor;
}

/**
 * The uniform random number in [0, 1) of each row, with 24 bits: word 0 of Philox4x32-10 with counter (position, 0,
 * stream) and key = seed, that is `createRandom(seed, stream, 4 · position).uint32() >>> 8` / 2^24. Returns [B].
 * @throws ShapeError when streams are not [B, 2] or the seed not [2]
 */
export function drawUniforms({ seed, streams, positions }: SamplingState): Tensor {
  const rows = positions.size;
  need(
    streams.size === 2 * rows && seed.size === 2,
    `sample: positions [${positions.shape}], streams [${streams.shape}], seed [${seed.shape}]; expected [B], [B, 2], [2]`,
  );
  const draws = empty([rows], "f32", "uniforms");
  call(kernel, "uniforms", { bindings: { seed, streams, positions, draws }, ...perRow(rows) });
  return draws;
}

/**
 * Philox4x32-10 itself, to be checked against its published vectors.
 * @param counters u32 [N, 4]
 * @param seed u32 [2], the key
 * @returns u32 [N, 4]
 */
export function philoxWords(counters: Tensor, seed: Tensor): Tensor {
  const rows = counters.size / 4;
  const words = empty([rows, 4], "u32", "random words");
  call(kernel, "words", { bindings: { counters, seed, random_words: words }, ...perRow(rows) });
  return words;
}

const perRow = (rows: number): Pick<Parameters<typeof call>[2], "params" | "workgroups"> => ({
  params: { rows },
  workgroups: grid(Math.ceil(rows / 64)),
});
