/** The shipped checkpoint read by its address, and its likeliest tokens, by the browser's part of the API: on whichever runtime this is. */
import { createEngine, loadModel, loadTokenizer, modelFiles, openDevice } from "../dist/src/browser.js";
import { runtime } from "../dist/src/host.js";

const FOLDER = new URL("../checkpoints/movie-lm/", import.meta.url);
const FROZEN = { trainable: false };

/**
 * @typedef {{ tokens: number[], text: string, savedAlike: boolean, refusals: string[] }} SmokeText
 * @returns {Promise<SmokeText>} `refusals`: what a browser says to a path, and to an address where nothing is
 */
export async function smokeGenerate() {
  const device = await openDevice();
  const model = await loadModel(device, FOLDER, FROZEN);
  const tokenizer = await loadTokenizer(FOLDER);
  const ids = tokenizer.encode("the film is");
  const engine = await createEngine(model, 1, ids.length, {
    temperature: 1,
    greedy: true,
    maxNewTokens: 16,
    eosIds: [],
  });
  const [sample] = await engine.generate([{ ids, stream: [0, 0] }], { seed: 1 });
  const again = await loadModel(device, await modelFiles(model, { dtype: "F16" }), FROZEN);
  const savedAlike = (await again.parameters.hash()) === (await model.parameters.hash());
  const refusals =
    runtime() === "browser" ? await Promise.all(["model", new URL("no/", FOLDER)].map(refusal)) : [];
  await device.close();
  return { tokens: sample.ids, text: tokenizer.decode([...ids, ...sample.ids]), savedAlike, refusals };
}

const refusal = (place) =>
  loadTokenizer(place).then(
    () => "it was loaded",
    ({ message }) => message,
  );
