/** Our decoding: the engine that `vbon generate` and `vbon cache` use, as `vbon bench` runs it. */
import { makeDecode } from "../../../src/bench/jobs/decode.ts";
import type { Device } from "../../../src/index.ts";
import type { Work } from "../items.ts";
import { checked, type Prepared } from "../serve.ts";

/** All responses to one prompt, prefill included. */
export async function prepareDecode(
  device: Device,
  { model: sizes, rows, prompt, tokens }: Extract<Work, { readonly kind: "decode" }>,
): Promise<Prepared> {
  const job = await makeDecode(device, { sizes, rows, prompt, tokens });
  const error = await checked("decode", job);
  const run = async (times: number): Promise<void> => void (await job.submit(times));
  return {
    jobs: [{ name: "generate", units: job.tokens!, run }],
    check: `log-probabilities within ${error.toExponential(0)} of the whole text's`,
  };
}
