/**
 * Everything to be known of a GPU that vbon has not run on yet, in one command and about eight minutes:
 *   node scripts/gpu-first-run.mjs [FOLDER]        (after `npm run build`; FOLDER: $OUT, else gpu-first-run)
 * What the tiers' self-tests say, every kernel against float64, ceilings and benchmarks, where the time of a step goes, the
 * peers beside us. Each step leaves its output in FOLDER and a line in summary.txt; one that fails does not keep the others.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

const folder = process.argv[2] ?? process.env.OUT ?? "gpu-first-run";
const vbon = ["node", "bin/vbon.mjs"];
const vitest = ["node", "node_modules/vitest/vitest.mjs", "run", "--config", "test/vitest.config.ts"];

/** [name, minutes at most, command] */
const STEPS = [
  ["doctor", 1, [...vbon, "doctor"]],
  ["conformance", 8, [...vitest, "test/conformance.test.ts", "test/ops", "test/gpu"]],
  ["bench", 6, [...vbon, "bench", "--time", "200", "--out", join(folder, "bench.jsonl")]],
  ["profile-step", 2, [...vbon, "profile", "step", "--svg", join(folder, "step.svg"), "--trace", join(folder, "step.json")]],
  ["profile-decode", 2, [...vbon, "profile", "decode", "--svg", join(folder, "decode.svg")]],
  ["steady", 4, [...vbon, "bench", "steady"]],
  ["peers", 9, ["npm", "run", "peers", "--", "--rounds", "3", "--out", join(folder, "peers.md")]],
]; // prettier-ignore

mkdirSync(folder, { recursive: true });
for (const [name, minutes, [command, ...args]] of STEPS) {
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
