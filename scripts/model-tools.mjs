/** What the checks against other programs share: models with random weights, and their logits. */
import { padBatch } from "../dist/src/data/batch.js";
import { readIndex } from "../dist/src/nn/pooling.js";
import { createRandom } from "../dist/src/tensor/random.js";
import { input, record } from "../dist/src/tensor/tensor.js";

/**
 * Logits of every real token, or of the labels: a row for each text.
 * @param model a language model or a classifier @param {{ rows: number[][], padId: number }} texts
 * @returns {Promise<number[][]>}
 */
export async function logitsOf(model, { rows, padId }) {
  const { B, T, ids, positions, range } = padBatch(rows, { padId });
  const program = await record(model.parameters.device, "check", () => {
    const batch = { ids: input([B, T], "u32"), positions: input([B, T], "u32"), range: input([B, 2], "u32") };
    const hidden = model.hidden(batch).reshape(B * T, -1);
    return { batch, logits: model.logits ? model.logits(hidden) : model.classLogits(hidden) };
  });
  const { batch, logits } = program.result;
  batch.ids.write(ids);
  batch.positions.write(positions);
  batch.range.write(range);
  program.run();
  const all = await logits.read();
  program.dispose();
  const N = all.length / (B * T);
  const part = (from, to) => Array.from(all.subarray(from * N, to * N), (x) => Number(x.toPrecision(8)));
  return rows.map(({ length }, b) => {
    const first = model.logits ? b * T : readIndex(model.reads, b, T, length);
    return part(first, first + (model.logits ? length : 1));
  });
}

/** Every part of a model matters at these sizes. */
export function randomise(parameters, seed, chosen = () => true) {
  for (const { name, shape, init } of parameters.specs.filter(({ name: n }) => chosen(n))) {
    const random = createRandom(seed, name);
    const count = shape.reduce((a, b) => a * b, 1);
    const middle = init === "ones" ? 1 : 0;
    parameters.get(name).write(Float32Array.from({ length: count }, () => middle + 0.3 * random.normal()));
  }
}
