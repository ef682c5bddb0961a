/** The real model: stories260K on TinyStories. */
import { existsSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import { padBatch } from "../../src/data/batch.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";
import { batchInput } from "../support/models.ts";

const data = new URL("../../../shared/data/", import.meta.url).pathname;
const there = existsSync(`${data}stories260K`) && existsSync(`${data}tinystories/train.txt`);
if (!there)
  console.log("stories260K: skipped, the folder ../shared/data with the model and the stories is not here");

const device = await testDevice();
afterAll(() => device.close());

describe.skipIf(!there)("stories260K", () => {
  it("gives its published likelihood to the first 40 stories", async () => {
    const model = await loadModel(device, `${data}stories260K`, { trainable: false });
    const tokenizer = await loadTokenizer(`${data}stories260K`);
    const [B, T] = [8, model.config.blockSize];
    const stories = readFileSync(`${data}tinystories/train.txt`, "utf8").split("<|endoftext|>").slice(0, 40);
    const rows = stories.map((story) => tokenizer.encode(story.trim()).slice(0, T));
    expect(rows.every((row) => row[0] === model.config.bosId)).toBe(true);
    const program = await record(device, "score", () => {
      const [batch, targets] = [batchInput(B, T), input([B * T], "u32")];
      const { logprobs } = model.logprobs(model.hidden(batch).reshape(B * T, -1), targets);
      return { batch, targets, logprobs };
    });
    const { batch, targets, logprobs } = program.result;
    let [nll, count] = [0, 0];
    for (let at = 0; at < rows.length; at += B) {
      const { ids, positions, range, mask } = padBatch(rows.slice(at, at + B), { padId: 0, length: T });
      batch.ids.write(ids);
      batch.positions.write(positions);
      batch.range.write(range);
      targets.write(ids.map((_, i) => ids[i + 1] ?? 0));
      program.run();
      (await logprobs.read()).forEach((p, i) => {
        if ((i + 1) % T === 0 || mask[i + 1] !== 1) return;
        nll -= p;
        count++;
      });
    }
    expect(Math.abs(nll / count - 1.245), `mean NLL ${nll / count} over ${count} tokens`).toBeLessThan(0.002);
  });
});
