// Eight samples of one prompt from a model folder in Hugging Face layout (GPT-2 or Llama):
//   node examples/generate.ts FOLDER "Once upon a time"
// The prompt is run through the model once; its eight samples share the result. A sample depends on the seed and
// its own stream, not on what else is drawn beside it.
import { createEngine, loadModel, loadTokenizer, openDevice } from "vbon";

const [folder, prompt = "Once upon a time"] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: node examples/generate.ts FOLDER ["prompt"]');

const device = await openDevice();
const model = await loadModel(device, folder, { trainable: false });
const tokenizer = await loadTokenizer(folder);
const ids = tokenizer.encode(prompt);
const eosIds = tokenizer.eosId === undefined ? [] : [tokenizer.eosId];

const rows = 8;
const engine = await createEngine(model, rows, ids.length, {
  temperature: 0.8,
  topP: 0.95,
  maxNewTokens: 48,
  eosIds,
});
const requests = Array.from({ length: rows }, (_, i) => ({ ids, stream: [0, i] as const }));
const samples = await engine.generate(requests, { seed: 1 });

for (const sample of samples) {
  const text = tokenizer.decode([...ids, ...sample.ids], { skipSpecialTokens: true });
  const logprob = sample.logprobs.reduce((a, b) => a + b, 0);
  console.log(`${logprob.toFixed(1)} nats, ${sample.finish}: ${text.trim()}`);
}
await device.close();
