/**
 * Everything to be known of a GPU that vbon has not run on yet, in one command and a quarter of an hour; or a part of it:
 *   node scripts/gpu-first-run.mjs [FOLDER] [--only doctor,align-gpt2,…]     (after `npm run build`; FOLDER: $OUT, else gpu-first-run)
 * What the tiers' self-tests say, a step of alignment of GPT-2 small and of Pythia-1.4B with LoRA (random weights), every kernel
 * against float64, ceilings and benchmarks, where the time of a step goes, the fastest forms of products, the peers beside us. Each
 * step leaves its output in FOLDER and a line in summary.txt; one that fails does not keep the others.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({ options: { only: { type: "string" } }, allowPositionals: true });
const folder = positionals[0] ?? process.env.OUT ?? "gpu-first-run";
const vbon = ["node", "bin/vbon.mjs"];
const vitest = ["node", "node_modules/vitest/vitest.mjs", "run", "--config", "test/vitest.config.ts"];

/** One iteration of 64 responses, a second time warm, on a model of a known size. */
function align(size, ...flags) {
  const model = join(tmpdir(), size);
  const work = join(folder, `align-${size}`);
  const sizes = "--episodes 128 --rollout 64 --minibatch 32 --micro-batch 16 --rows 64";
  const step = `node scripts/align-step.mjs ${model} ${work} ${sizes} ${flags.join(" ")}`;
  return ["bash", "-c", `[ -d ${model} ] || node scripts/random-model.mjs ${size} ${model}; ${step}`];
}

/** [name, minutes at most, command] */
const STEPS = [
  ["doctor", 1, [...vbon, "doctor"]],
  ["align-gpt2", 3, align("gpt2-124m")],
  ["align-gpt2-lora", 3, align("gpt2-124m", "--lora", "all-linear")],
  ["align-pythia-lora", 4, align("pythia-1.4b", "--lora", "all-linear")],
  ["conformance", 8, [...vitest, "test/conformance.test.ts", "test/ops", "test/gpu"]],
  ["bench", 6, [...vbon, "bench", "--time", "200", "--out", join(folder, "bench.jsonl")]],
  ["profile-step", 2, [...vbon, "profile", "step", "--svg", join(folder, "step.svg"), "--trace", join(folder, "step.json")]],
  ["profile-decode", 2, [...vbon, "profile", "decode", "--svg", join(folder, "decode.svg")]],
  ["tune", 6, [...vbon, "tune", "--rounds", "5", "--out", join(folder, "tune.json")]],
  ["steady", 4, [...vbon, "bench", "steady"]],
  ["peers", 9, ["npm", "run", "peers", "--", "--rounds", "3", "--out", join(folder, "peers.md")]],
]; // prettier-ignore

const only = values.only?.split(",") ?? STEPS.map(([name]) => name);
const unknown = only.find((wanted) => !STEPS.some(([name]) => name === wanted));
if (unknown !== undefined) {
  console.error(`--only ${unknown}: expected some of ${STEPS.map(([name]) => name).join(", ")}`);
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
for (const [name, minutes, [command, ...args]] of STEPS.filter(([one]) => only.includes(one))) {
  const from = Date.now();
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    timeout: minutes * 60_000,
    maxBuffer: 2 ** 28,
    encoding: "utf8",
  });
  const end = error?.message ?? signal ?? `exit code ${status}`;
  writeFileSync(join(folder, `${name}.txt`), `${stdout ?? ""}\n${stderr ?? ""}`);
  const line = `${name}: ${end}, ${((Date.now() - from) / 1000).toFixed(0)} s\n`;
  appendFileSync(join(folder, "summary.txt"), line);
  process.stdout.write(line);
}
