#!/usr/bin/env node
// Draws win rate against KL of finished `vbon align` runs, with Best-of-N's own curve from their test cache.
// usage: node scripts/frontier.mjs OUT.svg RUN_DIR [RUN_DIR ...]
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { winAgainstKl } from "../dist/src/report/charts.js";

const [out, ...runs] = process.argv.slice(2);
if (!out || runs.length === 0) {
  console.error("usage: node scripts/frontier.mjs OUT.svg RUN_DIR [RUN_DIR ...]");
  process.exit(2);
}
/** A file of a run. */
const read = (run, file) => JSON.parse(readFileSync(join(run, file), "utf8"));
const point = (name, setting, { reward, win, rank, kl }) => ({
  name,
  setting,
  reward,
  win: rank ?? win,
  ...(win.low !== undefined && { winInterval: [win.low, win.high] }),
  kl,
});
const evaluations = runs.map((run) => ({
  config: read(run, "config.json"),
  ...read(run, "evaluation.json"),
}));
const settingOf = ({ method, n, beta }) => (method === "ppo" ? `β = ${beta}` : `N = ${n}`);
const methods = evaluations.map(({ config, policy }) => point(config.method, settingOf(config), policy));
const { reference, bestOfN } = evaluations[0];
const bonCurve = bestOfN
  .filter((p) => p.winRate !== undefined)
  .map((p) => ({ n: p.n, reward: p.reward, win: p.winRate, kl: p.klBound }));
const task = { reward: evaluations[0].config.reward };
writeFileSync(
  out,
  await winAgainstKl({
    task,
    methods: [point("reference", "", reference), ...methods],
    bonCurve,
    trainingCurves: {},
    cdfs: [],
    samples: [],
  }),
);
