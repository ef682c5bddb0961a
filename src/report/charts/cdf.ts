/** The empirical CDFs of rewards under the reference: the yardstick that vBoN rewards a response by. */
import { type SeriesStyle, styleAt } from "../palette.ts";
import { oneLine, truncate } from "../text.ts";
import type { PromptCdf } from "../types.ts";
import { withLegend } from "./legend.ts";
import { openScale, seriesEncoding, seriesLabel } from "./series.ts";
import { type ChartRow, type ChartSpec, renderSvg } from "./svg.ts";

/** Prompts drawn at most: one per style of the palette's first round. */
export const CDF_LIMIT = 6;

/**
 * SVG of F and log F side by side, for the first {@link CDF_LIMIT} prompts that have rewards. F counts the reference
 * samples with a smaller reward, smoothed to (k + 1) / (M + 1), which is what keeps log F finite.
 * @param reward name of the reward, for the axis title.
 */
export async function cdfChart(cdfs: readonly PromptCdf[], reward: string): Promise<string> {
  const drawn = drawnCdfs(cdfs);
  const names = drawn.map(({ prompt }, index) => seriesLabel(`${index + 1}. ${oneLine(prompt)}`));
  const styles = new Map<string, SeriesStyle>(names.map((name, index) => [name, styleAt(index)]));
  const { color, strokeDash } = seriesEncoding(styles);
  const rows = drawn.flatMap(({ rewards }, index) => steps(names[index] ?? "", rewards));
  const panel = (field: string, title: string): ChartSpec => ({
    width: 440,
    height: 260,
    mark: { type: "line", interpolate: "step-after", strokeWidth: 1.8 },
    encoding: {
      x: {
        field: "x",
        type: "quantitative",
        title: `Reward r (${truncate(oneLine(reward), 48)})`,
        scale: openScale(rows.map((row) => Number(row["x"]))),
      },
      y: { field, type: "quantitative", title },
      order: { field: "k", type: "quantitative" },
      color,
      strokeDash,
    },
  });
  const svg = await renderSvg(
    {
      data: { values: rows },
      hconcat: [panel("F", "F(r), share of reference samples below r"), panel("logF", "log F(r) (nats)")],
    },
    "cdf",
  );
  return withLegend(
    svg,
    [...styles].map(([label, style]) => ({ label, style, line: true, symbol: "none" })),
    12,
  );
}

/** The prompts that {@link cdfChart} draws: those with at least one finite reward, at most {@link CDF_LIMIT}. */
export function drawnCdfs(cdfs: readonly PromptCdf[]): readonly PromptCdf[] {
  return cdfs.filter(({ rewards }) => rewards.some(Number.isFinite)).slice(0, CDF_LIMIT);
}

/** The corners of (k + 1) / (M + 1): one row per reward, and a first one where the curve starts. */
function steps(series: string, rewards: readonly number[]): ChartRow[] {
  const sorted = rewards.filter(Number.isFinite).sort((a, b) => a - b);
  const corner = (x: number, k: number): ChartRow => {
    const F = (k + 1) / (sorted.length + 1);
    return { series, x, k, F, logF: Math.log(F) };
  };
  return [corner(sorted[0] ?? 0, 0), ...sorted.map((x, index) => corner(x, index + 1))];
}
