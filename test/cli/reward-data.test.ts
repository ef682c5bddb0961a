/** What `vbon reward` learns from: the pairs of a cache that are kept. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readRewardData } from "../../src/cli/train/reward-data.ts";
import { scratch } from "../support/training.ts";

const folder = scratch();
const cache = join(folder, "cache.jsonl");
// Prompt i prefers " yes" by i + 1; the last one ties.
const lines = [1, 2, 3, 4, 0].map((margin, i) =>
  JSON.stringify({ prompt: `p${i}`, responses: [" no", " yes"], rewards: [0, margin] }),
);
writeFileSync(cache, `${lines.join("\n")}\n`);
const source = { chosenField: "chosen", rejectedField: "rejected", westOf: cache, n: 2, seed: 0 };

it.each([
  [1, ["p0", "p1", "p2", "p3"]],
  [0.5, ["p2", "p3"]],
  [0.3, ["p2", "p3"]],
  [0.01, ["p3"]],
])("West-of-N keeps the share %d of the pairs, those it is surest of", async (westKeep, prompts) => {
  const { unit, texts } = await readRewardData({ ...source, westKeep });
  expect(unit).toBe("pairs");
  expect(texts).toEqual(prompts.flatMap((p) => [`${p} yes`, `${p} no`]));
});
