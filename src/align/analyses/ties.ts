/** How often scores are equal, as they are stored and as narrower types would store them (alignment.md 1.2, 1.4). */

import { tiedPairs, sortScores } from "../../evaluate/ranks.ts";
import { bf16ToF32Bits, f16ToF32Bits, f32ToBf16Bits, f32ToF16Bits } from "../../tensor/half.ts";
import { mean } from "../../evaluate/mean.ts";
import { type Analysis } from "./analysis.ts";

const number = new Float32Array(1);
const bits = new Uint32Array(number.buffer);

/** Through the bits of a float32. */
function rounded(x: number, to: (bits: number) => number, from: (bits: number) => number): number {
  number[0] = x;
  bits[0] = from(to(bits[0]!));
  return number[0]!;
}

const STORED: Readonly<Record<string, (x: number) => number>> = {
  "as cached": (x) => x,
  f32: Math.fround,
  f16: (x) => rounded(x, f32ToF16Bits, f16ToF32Bits),
  bf16: (x) => rounded(x, f32ToBf16Bits, bf16ToF32Bits),
};

/** Above this share of tied pairs the pooled estimator is the better one. */
const MANY = 0.01;

/** Pairs of equal scores within a prompt. */
export const ties: Analysis = {
  name: "ties",
  question: "how many scores are equal, which the strict rank counts as losses?",
  run(prompts) {
    const rows = Object.entries(STORED).map(([stored, round]) => {
      const found = prompts.map(({ rewards }) => tiedPairs(sortScores(rewards.map(round), "analyse ties")));
      const rates = found.map(({ rate }) => rate);
      return {
        stored,
        pairs: mean(found.map(({ count }) => count)),
        rate: 100 * mean(rates),
        largest: 100 * Math.max(...rates),
        constant: (100 * rates.filter((rate) => rate === 1).length) / rates.length,
      };
    });
    const many = rows[0]!.rate > 100 * MANY;
    return {
      columns: [
        { key: "stored", title: "stored" },
        { key: "pairs", title: "tied pairs a prompt", digits: 2 },
        { key: "rate", title: "of all pairs %", digits: 3 },
        { key: "largest", title: "largest %", digits: 2 },
        { key: "constant", title: "constant prompts %", digits: 1 },
      ],
      rows,
      notes: [
        many
          ? "More than 1 % of the pairs are tied: prefer the pooled estimator, which shares a tie out."
          : "At most 1 % of the pairs are tied: every way to treat ties gives nearly the same.",
      ],
    };
  },
};
