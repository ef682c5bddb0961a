/** TensorFlow.js: products and GPT-2 training, on wasm (SIMD; its threads want a browser) or on WebGPU. */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { serve } from "../serve.ts";
import { checkMatmul, dawn, normals, randomIds } from "../peer-tools.mjs";

const require = createRequire(import.meta.url);

async function prepare({ work, setting }) {
  const gpu = setting.backend === "webgpu" ? await dawn() : undefined;
  if (gpu)
    Object.defineProperty(globalThis, "navigator", { value: { userAgent: "node", gpu }, configurable: true });
  const tf = require("@tensorflow/tfjs");
  const name = `@tensorflow/tfjs-backend-${setting.backend}`;
  const { setWasmPaths } = require(name);
  setWasmPaths?.(`${dirname(require.resolve(name))}/`);
  if (!(await tf.setBackend(setting.backend)))
    throw new Error(`the backend ${setting.backend} does not start`);
  await tf.ready();
  return work.kind === "matmul" ? matmuls(tf, work) : training(tf, work);
}

async function matmuls(tf, { shapes, modes }) {
  const jobs = [];
  let worst = 0;
  for (const [M, N, K] of shapes) {
    for (const mode of modes) {
      const [x, y] = [normals("a", M * K), normals("b", K * N)];
      const a = tf.tensor2d(x, mode === "tn" ? [K, M] : [M, K]);
      const b = tf.tensor2d(y, mode === "nt" ? [N, K] : [K, N]);
      const product = () => multiply(tf, a, b, mode);
      worst = Math.max(worst, checkMatmul(await product().data(), x, y, [M, N, K], mode));
      /** One row of the last product is read: that waits for a GPU, and costs little. */
      const run = async (times) => {
        for (let i = 0; i < times - 1; i++) product().dispose();
        const last = product();
        const row = tf.slice(last, [0, 0], [1, 1]);
        await row.data();
        row.dispose();
        last.dispose();
      };
      jobs.push({ name: `${mode} ${M}x${N}x${K}`, units: 2e-9 * M * N * K, run });
    }
  }
  return { jobs, check: `largest error ${worst.toExponential(0)} of the largest value` };
}

/** Its wasm takes ten times as long for a flag as for a transpose of its own before the product. */
function multiply(tf, a, b, mode) {
  if (tf.getBackend() !== "wasm") return tf.matMul(a, b, mode === "tn", mode === "nt");
  return tf.tidy(() => tf.matMul(mode === "tn" ? tf.transpose(a) : a, mode === "nt" ? tf.transpose(b) : b));
}

async function training(tf, { model, rows: B, length: T }) {
  const { createModel } = await import("./gpt.mjs");
  const { loss } = createModel(tf, model, [B, T]);
  const text = randomIds(B * (T + 1), model.vocab_size);
  const oneHot = (from) => {
    const ids = Int32Array.from(
      { length: B * T },
      (_, i) => text[Math.floor(i / T) * (T + 1) + (i % T) + from],
    );
    return tf.cast(tf.oneHot(tf.tensor1d(ids, "int32"), model.vocab_size), "float32");
  };
  const [ids, targets] = [oneHot(0), oneHot(1)];
  const adam = tf.train.adam(1e-3, 0.9, 0.95);
  let seen;
  const run = async (times) => {
    for (let i = 0; i < times; i++) {
      const value = adam.minimize(() => loss(ids, targets), true);
      [seen] = await value.data();
      value.dispose();
    }
  };
  await run(1);
  const first = seen;
  await run(3);
  if (!(seen < first)) throw new Error(`the loss does not fall: ${first}, ${seen}`);
  return {
    jobs: [{ name: "step", units: B * T, run }],
    check: `loss ${first.toFixed(3)}, ${seen.toFixed(3)} three steps later`,
  };
}

await serve(prepare);
process.exit();
