/** The live table of `vbon align`: a row an iteration. */
import type { AlignMetrics } from "../../align/loop.ts";
import { fixed, percent } from "../../report/format.ts";
import { clock } from "../progress.ts";

/** What a row tells beside the metrics. */
export interface RowFacts {
  readonly metrics: AlignMetrics;
  readonly secondsLeft: number;
}

interface Column {
  readonly title: string;
  readonly width: number;
  readonly show: (facts: RowFacts) => string;
}

const COLUMNS: readonly Column[] = [
  { title: "step", width: 4, show: ({ metrics: m }) => String(m.iteration + 1) },
  { title: "episodes", width: 8, show: ({ metrics: m }) => String(m.episodes) },
  { title: "reward", width: 7, show: ({ metrics: m }) => fixed(m.reward) },
  { title: "rank", width: 5, show: ({ metrics: m }) => fixed(m.rank) },
  { title: "KL", width: 6, show: ({ metrics: m }) => fixed(m.kl) },
  { title: "k1", width: 6, show: ({ metrics: m }) => fixed(m.klK1) },
  { title: "k3", width: 6, show: ({ metrics: m }) => fixed(m.klK3) },
  { title: "J", width: 7, show: ({ metrics: m }) => fixed(m.J) },
  { title: "entropy", width: 7, show: ({ metrics: m }) => fixed(m.entropy, 1) },
  { title: "clipped", width: 8, show: ({ metrics: m }) => percent(m.clipFrac, 2) },
  { title: "tokens/s", width: 8, show: ({ metrics: m }) => fixed(m.tokensPerSecond, 0) },
  { title: "left", width: 7, show: ({ secondsLeft }) => clock(secondsLeft) },
];

/** Titles over {@link tableRow}. */
export function tableHead(): string {
  return COLUMNS.map(({ title, width }) => title.padStart(width)).join("  ");
}

/** What the columns mean, for whoever reads the table. */
export const TABLE_LEGEND: string =
  "rank: mean F, the share of the reference's responses that are beaten, ties half (the win rate on these prompts); " +
  "KL over the whole vocabulary, k1, k3, entropy, J = E[R] - KL: nats a response";

/** One iteration. */
export function tableRow(facts: RowFacts): string {
  return COLUMNS.map(({ width, show }) => show(facts).padStart(width)).join("  ");
}
