/** The demo's results as text for a terminal. */
import { type ConsoleOptions, formatTable, sideBySide } from "../../report/console-table.ts";
import { duration, fixed, interval, percent } from "../../report/format.ts";
import { oneLine, pad, visible, wrap } from "../../report/text.ts";
import type { MethodResult, PromptSamples } from "../../report/types.ts";

/** The results in 80 columns, what they mean below; the page has more of them. */
export function resultsTable(methods: readonly MethodResult[], n: number, options: ConsoleOptions): string {
  const table = formatTable(
    methods,
    [
      { title: "method", value: (m) => [m.name, m.setting].filter(Boolean).join(", ") },
      { title: "reward", value: (m) => `${fixed(m.reward)} \u00B1 ${fixed(m.rewardSe)}`, align: "right" },
      { title: "win rate", value: (m) => `${fixed(m.win)} (${interval(m.winInterval)})`, align: "right" },
      { title: "KL", value: (m) => m.kl, digits: 3, align: "right" },
      { title: "J", value: (m) => m.J, digits: 3, align: "right" },
    ],
    options,
  );
  const legend = [
    "win rate: reference responses to the same prompt that are beaten, ties half",
    `KL from the reference; J estimates -KL(policy || Best-of-${n} policy); in nats`,
  ];
  return [table, ...legend].join("\n");
}

/** Cells that four columns beside each other need. */
const WIDE = 105;

/** Each prompt with its responses: in columns where the terminal is wide enough, else below each other. */
export function samplesText(
  samples: readonly PromptSamples[],
  options: ConsoleOptions & { readonly width: number },
): string {
  if (options.width >= WIDE) return sideBySide(samples, options);
  return samples.map((sample) => narrow(sample, options.width)).join("\n\n");
}

function narrow({ prompt, rows }: PromptSamples, width: number): string {
  const widest = Math.max(...rows.map((row) => row.method.length));
  const lines = rows.flatMap(({ method, score, text }) => {
    const head = `  ${pad(method, widest)}  ${fixed(score, 2).padStart(6)}  `;
    const [first = "", ...rest] = wrap(visible(text.trim()), width - head.length);
    return [head + first, ...rest.map((line) => " ".repeat(head.length) + line)];
  });
  return [...wrap(`> ${oneLine(prompt)}`, width), ...lines].join("\n");
}

/** Where time went, the longest first. */
export function timeTable(seconds: Readonly<Record<string, number>>): string {
  const total = Object.values(seconds).reduce((a, b) => a + b, 0);
  const rows = Object.entries(seconds).toSorted(([, a], [, b]) => b - a);
  return formatTable(
    [...rows, ["all", total] as const],
    [
      { title: "where time went", value: ([what]) => what },
      { title: "time", value: ([, s]) => duration(s), align: "right" },
      { title: "share", value: ([, s]) => percent(s / total, 0), align: "right" },
    ],
  );
}
