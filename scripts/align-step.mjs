#!/usr/bin/env node
// One whole step of alignment on a model's folder: a cache of few samples, one iteration of `vbon align`, and what both took
// beside what `vbon plan` had said. For models too large for the tests: random ones come from scripts/random-model.mjs.
// usage: node scripts/align-step.mjs MODEL_DIR WORK_DIR [flags of vbon align …]
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runCli } from "../dist/src/cli/run.js";
import { openDevice } from "../dist/src/gpu/device.js";

const [policy, work, ...more] = process.argv.slice(2);
if (!policy || !work) {
  console.error("usage: node scripts/align-step.mjs MODEL_DIR WORK_DIR [flags of vbon align ...]");
  process.exit(2);
}

const PROMPTS = [
  "the cat sat on a mat and the dog",
  "we saw it go by the big",
  "a tree so that",
  "the red house",
];
const sampling = ["--max-new-tokens", "16", "--rows", "8"];
// Flags that decide what the reference computes, which the cache must share.
const held = more.flatMap((flag, i) => (flag === "--frozen-precision" ? [flag, more[i + 1]] : []));

/** Runs a command on `device`; returns what it wrote to stdout. */
async function vbon(device, args) {
  let out = "";
  const stdout = { write: (text) => (out += text) };
  const code = await runCli(args, {
    device,
    stdout,
    stderr: process.stderr,
    signal: new AbortController().signal,
  });
  if (code !== 0) throw new Error(`vbon ${args[0]}: exit code ${code}: ${out}`);
  return out;
}

mkdirSync(work, { recursive: true });
const [prompts, reward, out] = ["prompts.jsonl", "letter.mjs", "run"].map((name) => join(work, name));
const cache = join(work, `cache${held.join("")}.jsonl`);
writeFileSync(prompts, PROMPTS.map((prompt) => `${JSON.stringify({ prompt })}\n`).join(""));
const letter = "({ response }) => (response.split('e').length - 1) / (1 + response.length)";
writeFileSync(reward, `export default (inputs) => inputs.map(${letter});\n`);
rmSync(out, { recursive: true, force: true });

const device = await openDevice();
const common = ["--policy", policy, "--reward", reward, ...sampling];
const began = performance.now();
if (!existsSync(cache))
  await vbon(device, ["cache", ...common, ...held, "--prompts", prompts, "--samples", "4", "--out", cache]);
const sampled = performance.now();
device.memory.peak = device.bytesAllocated;
const sizes = ["--episodes", "8", "--rollout", "8", "--minibatch", "8", "--micro-batch", "4", "--n", "2"];
const flags = [...common, ...sizes, "--cache", cache, ...more];
await vbon(device, ["align", ...flags, "--out", out]);
const { maxRSS } = process.resourceUsage();
const ended = performance.now();
const lines = readFileSync(join(out, "metrics.jsonl"), "utf8").trimEnd().split("\n");
const step = JSON.parse(lines.findLast((line) => line.includes("updateSeconds")));
const planned = JSON.parse(await vbon(device, ["plan", ...flags, "--json"]));
const mebibytes = (bytes) => Math.round(bytes / 2 ** 20);
const result = {
  policy,
  flags: more.join(" "),
  adapter: device.name,
  parameters: planned.parameters,
  plannedMiB: mebibytes(planned.total),
  measuredMiB: mebibytes(device.memory.peak),
  residentMiB: mebibytes(maxRSS * 1024),
  cacheSeconds: Math.round((sampled - began) / 100) / 10,
  alignSeconds: Math.round((ended - sampled) / 100) / 10,
  planSeconds: Math.round((performance.now() - ended) / 100) / 10,
  stepSeconds: Object.fromEntries(Object.entries(step).filter(([name]) => name.endsWith("Seconds"))),
};
appendFileSync(join(work, "results.jsonl"), `${JSON.stringify(result)}\n`);
console.log(JSON.stringify(result));
await device.close();
