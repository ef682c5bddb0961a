/** Our decoding: the engine that `vbon generate` and `vbon cache` use. */
import { createEngine, createModel, type Device, input, ops, record } from "../../../src/index.ts";
import type { LanguageModel } from "../../../src/nn/lm.ts";
import type { Work } from "../items.ts";
import type { Prepared } from "../serve.ts";

/** All responses to one prompt, prefill included; the log-probabilities of one are compared with those of its whole text. */
export async function prepareDecode(
  device: Device,
  { model: json, rows, prompt, tokens }: Extract<Work, { readonly kind: "decode" }>,
): Promise<Prepared> {
  const model = createModel(device, json, { trainable: false, seed: 1 });
  const engine = await createEngine(model, rows, prompt, {
    temperature: 1,
    maxNewTokens: tokens,
    eosIds: [],
  });
  const ids = Array.from({ length: prompt }, (_, i) => i + 1);
  const requests = Array.from({ length: rows }, (_, i) => ({ ids, stream: [0, i] as const }));
  const sample = (await engine.generate(requests, { seed: 0 })).at(-1)!;
  const exact = (await textLogprobs(device, model, [...ids, ...sample.ids])).subarray(prompt - 1);
  const error = Math.max(...exact.map((l, i) => Math.abs(l - sample.logprobs[i]!)));
  if (!(error < 1e-3))
    throw new Error(`decode: log-probabilities differ by ${error} from those of the whole text`);
  const run = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) await engine.generate(requests, { seed: i });
  };
  return {
    jobs: [{ name: "generate", units: rows * tokens, run }],
    check: `log-probabilities within ${error.toExponential(0)} of the whole text's`,
  };
}

/** log p of every token of `text` after the first, [T - 1]. */
async function textLogprobs(
  device: Device,
  model: LanguageModel,
  text: readonly number[],
): Promise<Float32Array> {
  const T = text.length - 1;
  const score = await record(device, "score", () => {
    const batch = { ids: input([1, T], "u32"), positions: input([1, T], "u32"), range: input([1, 2], "u32") };
    const targets = input([T], "u32");
    const [logprobs] = ops.tokenLogprobs(model.logits(model.hidden(batch).reshape(T, -1)), targets);
    return { ...batch, targets, logprobs };
  });
  const { ids, positions, range, targets, logprobs } = score.result;
  ids.write(text.slice(0, T));
  positions.write(text.slice(0, T).map((_, t) => t));
  range.write([0, T]);
  targets.write(text.slice(1));
  score.run();
  const values = await logprobs.read();
  score.dispose();
  return values;
}
