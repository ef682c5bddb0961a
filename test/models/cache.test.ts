/** Decoding over a cache gives the same continuations as scoring everything anew. */
import { afterAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import { createKvMemory } from "../../src/nn/kv-cache.ts";
import { tokenLogprobs } from "../../src/ops/logprob.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";
import { golden } from "../support/golden.ts";
import { batchInput, type Padded, writeBatch } from "../support/models.ts";

interface Expected {
  readonly lengths: readonly number[];
  readonly right_padded: Padded;
  readonly greedy: {
    readonly tokens: readonly (readonly number[])[];
    readonly logprobs: readonly (readonly number[])[];
  };
}

const device = await testDevice();
afterAll(() => device.close());

for (const name of ["gpt2-tiny", "gpt-neox-tiny", "llama-tiny-gqa"]) {
  describe(`decoding ${name}`, () => {
    it("follows the greedy reference from a shared prefill", async () => {
      const folder = new URL(`../fixtures/models/${name}`, import.meta.url).pathname;
      const { lengths, right_padded: prompts, greedy } = golden<Expected>(`models/${name}/expected.json`);
      const model = await loadModel(device, folder, { trainable: false });
      // Two samples of each prompt, in reverse order.
      const source = [2, 2, 1, 1, 0, 0];
      const store = createKvMemory(device, model.config, source.length, 32);
      const prefill = await record(device, "prefill", () => {
        const [batch, rows] = [batchInput(3, 17), input([6], "u32")];
        return { batch, rows, hidden: model.hidden(batch, store.prefill(rows)) };
      });
      const decode = await record(device, "decode", () => {
        const [batch, targets] = [batchInput(6, 1), input([6], "u32")];
        const hidden = model.hidden(batch, store.extend);
        return {
          batch,
          targets,
          logprobs: tokenLogprobs(model.logits(hidden.reshape(6, -1)), targets, {})[0],
        };
      });
      prefill.result.rows.write(source);
      writeBatch(prefill.result.batch, prompts);
      prefill.run();
      for (let t = 0; t + 1 < greedy.tokens[0]!.length; t++) {
        decode.result.batch.ids.write(source.map((p) => greedy.tokens[p]![t]!));
        decode.result.batch.positions.write(source.map((p) => lengths[p]! + t));
        decode.result.targets.write(source.map((p) => greedy.tokens[p]![t + 1]!));
        store.lengths.write(source.map((p) => lengths[p]! + t));
        decode.run();
        const logprobs = await decode.result.logprobs.read();
        source.forEach((p, r) => {
          expect(Math.abs(logprobs[r]! - greedy.logprobs[p]![t + 1]!), `row ${r}, step ${t}`).toBeLessThan(
            1e-4,
          );
        });
      }
      store.dispose();
    });
  });
}
