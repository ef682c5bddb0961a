/**
 * How much memory does loading a model take beyond the model itself? Writes a Llama of about 500 MB (f32, bf16 and torch's zip would do
 * as well) into a temporary folder, loads it in a process of its own, and compares that process's peak with what it had when the
 * device stood open.
 *   npm run build && node scripts/load-memory.mjs [F32|BF16] [hidden size, 1024 by default]
 * Prints JSON: MiB of the model on the device, of the peak, and their difference; exit code 1 where that is above 64.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const MOST = 64;
const MIB = 2 ** 20;
const dist = new URL("../dist/", import.meta.url);
const [dtype = "F32", width = "1024"] = process.argv.slice(2);

/** Peak of resident memory so far, or now, in MiB: of the kernel, which counts the GPU's where that is the CPU. */
function resident(what) {
  const [, kib] = new RegExp(`${what}:\\s+(\\d+) kB`).exec(readFileSync("/proc/self/status", "utf8"));
  return Number(kib) / 1024;
}

async function write(folder) {
  const { writeWeights } = await import(new URL("src/data/weights/save.js", dist));
  const { blueprint } = await import(new URL("models/model.js", dist));
  const hidden = Number(width);
  const config = {
    model_type: "llama",
    hidden_size: hidden,
    intermediate_size: 2 * hidden,
    num_hidden_layers: 10,
    num_attention_heads: 8,
    num_key_value_heads: 8,
    vocab_size: 16_384,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  };
  const { specs } = blueprint(config, "lm");
  const tensors = specs.map(({ name, shape }) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return { name, shape, dtype, data: () => Float32Array.from({ length: count }, (_, i) => (i % 251) / 8) };
  });
  await writeWeights(folder, tensors, 2e8);
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
}

async function load(folder) {
  const { openDevice, loadModel } = await import(new URL("src/index.js", dist));
  const device = await openDevice();
  const before = resident("VmRSS");
  const model = await loadModel(device, folder, { trainable: false });
  await device.gpu.queue.onSubmittedWorkDone();
  const bytes = model.parameters.count * 4;
  const [weights, peak] = [bytes / MIB, resident("VmHWM") - before];
  const extra = peak - weights;
  console.log(
    JSON.stringify({ dtype, model: Math.round(weights), peak: Math.round(peak), extra: Math.round(extra) }),
  );
  await device.close();
  process.exitCode = extra > MOST ? 1 : 0;
}

if (process.env.LOAD_FOLDER) await load(process.env.LOAD_FOLDER);
else {
  const folder = mkdtempSync(join(tmpdir(), "vbon-load-"));
  try {
    await write(folder);
    const env = { ...process.env, LOAD_FOLDER: folder };
    const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), dtype, width], {
      env,
      stdio: "inherit",
    });
    process.exitCode = status ?? 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
