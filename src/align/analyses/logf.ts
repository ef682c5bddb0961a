/** Figure 3: log F of three prompts as M grows. F(r) = (k + 1)/(M + 1), k = #{scores < r} (alignment.md 1.3). */

import { mean } from "../../evaluate/mean.ts";
import { createCdf } from "../best-of-n/cdf.ts";
import { type Analysis, type Curve, fewest, type ScoredPrompt, within } from "./analysis.ts";

const USUAL = [10, 50, 100, 200, 400, 600];
/** Below this the difference is that of the smallest values F can take, 1/(M + 1), whatever the scores are. */
const UPPER = 0.1;

/** The prompts with the lowest, the middle and the highest mean score. */
function three(prompts: readonly ScoredPrompt[]): [name: string, prompt: ScoredPrompt][] {
  const sorted = [...prompts].sort((a, b) => mean(a.rewards) - mean(b.rewards));
  const names: [string, number][] = [["lowest", 0], ["middle", (sorted.length - 1) >> 1], ["highest", sorted.length - 1]]; // prettier-ignore
  const picked = new Map(names.map(([name, at]) => [sorted[at]!, name]));
  return [...picked].map(([prompt, name]) => [name, prompt]);
}

/** log F over the distinct scores of all samples, from the first m of them. */
function curveOf({ rewards }: ScoredPrompt, m: number): (readonly [number, number])[] {
  const cdf = createCdf(rewards.slice(0, m));
  return [...new Set(rewards)].sort((a, b) => a - b).map((r) => [r, cdf.at(r).logF] as const);
}

/** How far the curve of M samples lies from that of all, over the scores seen; and the curves. */
export const logf: Analysis = {
  name: "logf",
  question: "Figure 3: from which M on does log F stay as it is?",
  run(prompts, { m }) {
    const total = fewest(prompts);
    const ms = [...new Set([...within("m", m, USUAL, total), total])];
    const curves: Curve[] = [];
    const rows = three(prompts).flatMap(([name, prompt]) => {
      const all = curveOf(prompt, total);
      return ms.map((size) => {
        const points = curveOf(prompt, size);
        curves.push({ name: `M = ${size}`, panel: `${name} mean reward`, points });
        const gaps = points.map(([, y], i) => Math.abs(y - all[i]![1]));
        const upper = gaps.filter((_, i) => all[i]![1] >= Math.log(UPPER));
        return {
          prompt: `${name}: ${prompt.prompt}`,
          reward: mean(prompt.rewards),
          m: size,
          largest: Math.max(...upper),
          rms: Math.sqrt(mean(gaps.map((gap) => gap ** 2))),
        };
      });
    });
    return {
      columns: [
        { key: "prompt", title: "prompt" },
        { key: "reward", title: "mean reward", digits: 3 },
        { key: "m", title: "M" },
        { key: "largest", title: `largest difference where F >= ${UPPER}`, digits: 3 },
        { key: "rms", title: "RMS", digits: 3 },
      ],
      rows,
      notes: [`Differences of log F (nats) from that of all ${total} samples, over the scores seen.`],
      picture: { x: "Reward r", y: "log F(r), nats", step: true, curves },
    };
  },
};
