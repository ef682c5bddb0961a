import { backward, createAdamW, createModel, input, openDevice, ops, record } from "vbon";

const device = await openDevice();
const text = new TextEncoder().encode("She sells sea shells; the shells she sells are sea shells, I'm sure.");
const T = text.length - 1;
const config = { model_type: "gpt2", vocab_size: 128, n_positions: 128, n_embd: 64, n_layer: 2, n_head: 4 };
const model = createModel(device, config, { trainable: true, seed: 0 });
const adamw = await createAdamW(device, model.parameters);
const step = await record(device, "step", () => {
  const batch = { ids: input([1, T], "u32"), positions: input([1, T], "u32"), range: input([1, 2], "u32") };
  const targets = input([T], "u32");
  const { logprobs } = model.logprobs(model.hidden(batch).reshape(T, -1), targets);
  const loss = ops.neg(ops.mean(logprobs));
  backward(loss);
  return { ...batch, targets, loss };
});
step.result.ids.write(text.subarray(0, T));
step.result.positions.write(text.subarray(0, T).map((_, t) => t));
step.result.range.write([0, T]);
step.result.targets.write(text.subarray(1));
for (let i = 1; i <= 60; i++) {
  step.run();
  adamw.step(3e-3);
  if (i === 1 || i % 20 === 0)
    console.log(`step ${i}: ${(await step.result.loss.read())[0]!.toFixed(3)} nats a byte`);
}
