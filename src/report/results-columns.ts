/** The columns of the results table, shared by the page, the console and the model card. */
import { fixed, interval, percent } from "./format.ts";
import type { MethodResult } from "./types.ts";

/** One column: its heading, the unit under it, the exact number, and how number and uncertainty are printed. */
export interface ResultColumn {
  readonly title: string;
  readonly unit: string;
  readonly value: (method: MethodResult) => number | undefined;
  readonly show: (method: MethodResult) => string;
  readonly spread?: (method: MethodResult) => string;
  /** What the number means, where the title does not say it. */
  readonly note?: string;
}

const COLUMNS: readonly ResultColumn[] = [
  {
    title: "Reward",
    unit: "mean \u00B1 SE",
    value: (m) => m.reward,
    show: (m) => fixed(m.reward),
    spread: (m) => (m.rewardSe === undefined ? "" : `\u00B1 ${fixed(m.rewardSe)}`),
  },
  {
    title: "Win rate",
    unit: "95 % interval",
    value: (m) => m.win,
    show: (m) => fixed(m.win),
    spread: (m) => (m.winInterval === undefined ? "" : interval(m.winInterval)),
    note: "Win rate: mean rank of a response among the reference's cached responses to the same prompt, ties one half; the reference itself has 0.5.",
  },
  {
    title: "KL",
    unit: "nats",
    value: (m) => m.kl,
    show: (m) => fixed(m.kl),
    note: "KL: from the reference over the full vocabulary at every response token, summed over the response.",
  },
  { title: "KL, k1", unit: "nats", value: (m) => m.klK1, show: (m) => fixed(m.klK1) },
  {
    title: "KL, k3",
    unit: "nats",
    value: (m) => m.klK3,
    show: (m) => fixed(m.klK3),
    note: "k1 and k3 are sampled estimates of the same KL (Schulman, Approximating KL divergence, 2020).",
  },
  {
    title: "J",
    unit: "nats",
    value: (m) => m.J,
    show: (m) => fixed(m.J),
    note: "J = E[R] \u2212 KL, an estimate of minus the KL from the Best-of-N policy; 0 is perfect.",
  },
  { title: "Length", unit: "tokens", value: (m) => m.length, show: (m) => fixed(m.length, 1) },
  { title: "Ends with EOS", unit: "share", value: (m) => m.eosRate, show: (m) => percent(m.eosRate, 2) },
  {
    title: "Distinct-2",
    unit: "share",
    value: (m) => m.distinct2,
    show: (m) => fixed(m.distinct2),
    note: "Distinct-2: different bigrams over bigrams.",
  },
];

/** The columns that at least one of `methods` has a number for. */
export function resultColumns(methods: readonly MethodResult[]): readonly ResultColumn[] {
  return COLUMNS.filter((column) => methods.some((method) => column.value(method) !== undefined));
}

/** What a reader needs to know about those columns, one sentence each. */
export function resultNotes(methods: readonly MethodResult[]): readonly string[] {
  return resultColumns(methods).flatMap((column) => column.note ?? []);
}
