/** Text from a model, as it is drawn. */
import { createEngine, loadModel, loadTokenizer } from "vbon";
import { runs } from "./form.mjs";

const SHIPPED = new URL("/checkpoints/movie-lm/", location.href);

/** @param {import("vbon").Device} device */
export async function generateForm(device) {
  const form = document.querySelector("#generate");
  const { temperature, shown, files } = form.elements;
  const status = form.querySelector(".speed");
  temperature.addEventListener("input", () => (shown.value = temperature.value));

  /** @param {import("vbon").Place} place an address, or files by name */
  const load = async (place) => {
    const onProgress = (done, total) =>
      (status.textContent = `Loading, ${Math.floor((100 * done) / total)} %`);
    const loaded = {
      model: await loadModel(device, place, { trainable: false, onProgress }),
      tokenizer: await loadTokenizer(place),
    };
    const { config, parameters } = loaded.model;
    status.textContent = `${config.family}, ${parameters.count.toLocaleString()} parameters`;
    return loaded;
  };
  let loaded = await load(SHIPPED);
  files.addEventListener("change", async () => {
    try {
      const next = await load(Object.fromEntries([...files.files].map((file) => [file.name, file])));
      loaded.model.parameters.dispose();
      loaded = next;
      status.classList.remove("bad");
    } catch (error) {
      status.textContent = error.message;
      status.classList.add("bad");
    }
  });
  runs(form, (signal) => generate(form, loaded, signal));
}

async function generate(form, { model, tokenizer }, signal) {
  const [begun, drawn, status] = [".begun", ".drawn", ".speed"].map((name) => form.querySelector(name));
  const { prompt, temperature } = form.elements;
  const ids = tokenizer.encode(prompt.value);
  if (ids.length === 0) throw new Error("Give it at least one letter to begin with.");
  const { blockSize } = model.config;
  const settings = {
    temperature: Number(temperature.value),
    topP: 0.95,
    maxNewTokens: Math.max(1, Math.min(200, blockSize - ids.length)),
    eosIds: tokenizer.eosId === undefined ? [] : [tokenizer.eosId],
  };
  [begun.textContent, drawn.textContent, status.textContent] = [prompt.value, "", "Compiling kernels…"];
  const engine = await createEngine(model, 1, ids.length, settings);
  const start = performance.now();
  const show = (response) => {
    const text = tokenizer.decode([...ids, ...response], { skipSpecialTokens: true });
    drawn.textContent = text.slice(tokenizer.decode(ids, { skipSpecialTokens: true }).length);
    const seconds = (performance.now() - start) / 1000;
    status.textContent = `${response.length} tokens, ${(response.length / seconds).toFixed(0)} tokens/s`;
  };
  try {
    await engine.generate([{ ids, stream: [0, 0] }], {
      seed: Math.floor(Math.random() * 2 ** 32),
      onTokens: (responses) => responses.has(0) && show(responses.get(0)),
      reject: async () => (signal.aborted ? [0] : []),
    });
  } finally {
    engine.dispose();
  }
}
