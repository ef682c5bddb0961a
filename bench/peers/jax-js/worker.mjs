/** jax-js: products and GPT-2 training, on wasm (one thread or several) or on WebGPU. */
import { availableParallelism } from "node:os";
import { serve } from "../serve.ts";
import { checkMatmul, dawn, normals, randomIds } from "../peer-tools.mjs";
import { WebWorker } from "./web-worker.mjs";

/** jax-js maps over iterators, which Node learnt in 22. */
function polyfillIterators() {
  const prototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
  prototype.map ??= function* (f) {
    for (const value of this) yield f(value);
  };
  prototype.filter ??= function* (f) {
    for (const value of this) if (f(value)) yield value;
  };
  prototype.toArray ??= function () {
    return [...this];
  };
}

async function prepare({ work, setting }) {
  polyfillIterators();
  const gpu = setting.backend === "webgpu" ? await dawn() : undefined;
  const value = { userAgent: "node", hardwareConcurrency: availableParallelism(), ...(gpu && { gpu }) };
  Object.defineProperty(globalThis, "navigator", { value, configurable: true });
  if (setting.threads > 1) globalThis.Worker = WebWorker;
  const jax = await import("@jax-js/jax");
  await jax.init(setting.backend);
  jax.defaultDevice(setting.backend);
  return work.kind === "matmul" ? matmuls(jax, work) : training(jax, work);
}

async function matmuls({ numpy: np, jit, blockUntilReady }, { shapes, modes }) {
  const jobs = [];
  let worst = 0;
  for (const [M, N, K] of shapes) {
    for (const mode of modes) {
      const [x, y] = [normals("a", M * K), normals("b", K * N)];
      const a = np.array(x).reshape(mode === "tn" ? [K, M] : [M, K]);
      const b = np.array(y).reshape(mode === "nt" ? [N, K] : [K, N]);
      const product = jit((p, q) =>
        np.matmul(mode === "tn" ? np.transpose(p) : p, mode === "nt" ? np.transpose(q) : q),
      );
      worst = Math.max(worst, checkMatmul(await product(a.ref, b.ref).data(), x, y, [M, N, K], mode));
      const run = async (times) => {
        for (let i = 0; i < times; i++) {
          const c = product(a.ref, b.ref);
          await blockUntilReady(c);
          c.dispose();
        }
      };
      jobs.push({ name: `${mode} ${M}x${N}x${K}`, units: 2e-9 * M * N * K, run });
    }
  }
  return { jobs, check: `largest error ${worst.toExponential(0)} of the largest value` };
}

async function training({ numpy: np }, { model, rows: B, length: T }) {
  const { createParameters, createStep, zerosLike } = await import("./gpt.mjs");
  const ids = randomIds(B * (T + 1), model.vocab_size);
  const text = (from) =>
    np.array(Int32Array.from({ length: B * T }, (_, i) => ids[Math.floor(i / T) * (T + 1) + (i % T) + from]));
  const [inputs, targets] = [text(0), text(1)];
  let parameters = createParameters(model);
  let [m, v] = [zerosLike(parameters), zerosLike(parameters)];
  const step = createStep(model, [B, T]);
  let t = 0;
  let loss;
  const run = async (times) => {
    for (let i = 0; i < times; i++) {
      let value;
      [value, parameters, m, v] = step(parameters, m, v, np.array(++t), inputs.ref, targets.ref);
      loss = (await value.data())[0];
    }
  };
  await run(1);
  const first = loss;
  await run(3);
  if (!(loss < first)) throw new Error(`the loss does not fall: ${first}, ${loss}`);
  return {
    jobs: [{ name: "step", units: B * T, run }],
    check: `loss ${first.toFixed(3)}, ${loss.toFixed(3)} three steps later`,
  };
}

await serve(prepare);
process.exit();
