/** What is recorded on paper takes, there, what it takes on the device, which keeps all of its memory. */
import { describe, expect, it } from "vitest";
import { createModel } from "../../models/model.ts";
import { PaperDevice } from "../../src/gpu/paper.ts";
import type { Device } from "../../src/gpu/device.ts";
import { openDevice } from "../../src/gpu/device.ts";
import { ops } from "../../src/index.ts";
import { backward } from "../../src/optim/gradients.ts";
import { createAdamW } from "../../src/optim/adamw.ts";
import { input, record } from "../../src/tensor/tensor.ts";

// The second one: opening a GPU for the first time tests its kernels, and keeps what that was read through.
await (await openDevice()).close();
const device = await openDevice();
const SIZES = { model_type: "gpt2", vocab_size: 64, n_positions: 32, n_layer: 2, n_head: 2, n_embd: 32 };

/** A training step, recorded and run once; bytes at its most, and what the loss is. */
async function step(on: Device): Promise<{ bytes: number; loss: number; dispose(): void }> {
  const model = createModel(on, SIZES, { trainable: true, seed: 1 });
  const adamw = await createAdamW(on, model.parameters);
  const program = await record(on, "step", () => {
    const batch = {
      ids: input([2, 16], "u32"),
      positions: input([2, 16], "u32"),
      range: input([2, 2], "u32"),
    };
    const hidden = model.hidden(batch).reshape(32, -1);
    const loss = ops.neg(ops.mean(model.logprobs(hidden, input([32], "u32")).logprobs));
    backward(loss);
    return { batch, loss };
  });
  program.result.batch.range.write([0, 16, 0, 16]);
  program.run();
  adamw.step(1e-3);
  const [loss] = await program.result.loss.read();
  return {
    bytes: on.bytesAllocated,
    loss: loss!,
    dispose() {
      program.dispose();
      adamw.dispose();
      model.parameters.dispose();
    },
  };
}

describe("a device on paper", () => {
  it("counts the bytes of the device that it is a copy of, and leaves it alone", async () => {
    const paper = new PaperDevice(device, (_, kind) => kind);
    const before = { bytes: device.bytesAllocated, ...device.counters };
    const planned = await step(paper);
    expect({ bytes: device.bytesAllocated, ...device.counters }).toEqual(before);
    const taken = await step(device);
    expect(planned.bytes).toBe(taken.bytes);
    expect(planned.loss).toBe(0);
    expect(taken.loss).toBeGreaterThan(0);
    expect(paper.peak.bytes).toBe(planned.bytes);
    expect(paper.peak.purposes["scratch"]).toBe(device.memory.bytes.scratch);
    taken.dispose();
  });

  it("remembers its worst moment", async () => {
    const paper = new PaperDevice(device, (label) => label);
    const { bytes, dispose } = await step(paper);
    dispose();
    expect(paper.bytesAllocated).toBeLessThan(bytes / 2);
    expect(paper.peak.bytes).toBe(bytes);
    expect(Object.values(paper.peak.purposes).reduce((a, b) => a + b, 0)).toBe(bytes);
  });

  it("refuses what its device would refuse", async () => {
    const small = new PaperDevice(await openDevice({ bindingBytes: 256 }), (label) => label);
    await expect(step(small)).rejects.toThrow(/one binding holds at most 256/);
  });
});
