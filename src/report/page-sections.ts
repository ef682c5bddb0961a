/** The tables and lists of the report page. */
import { duration, fixed, plain } from "./format.ts";
import { type Cell, definitions, glyph, type Html, numberHtml, table } from "./html.ts";
import { type SeriesStyle, stylesOf } from "./palette.ts";
import { type ResultColumn, resultColumns } from "./results-columns.ts";
import { escapeHtml, oneLine } from "./text.ts";
import type { Comparison, MethodResult, PromptSamples, SampleRow, Task } from "./types.ts";

/** The sentence under the title: what was aligned, to what, judged on what. */
export function lead({ task }: Comparison): Html {
  const names = `${escapeHtml(oneLine(task.policy))}, aligned to ${escapeHtml(oneLine(task.reward))}`;
  const counts = `judged on ${plain(task.prompts)} test prompts with ${plain(task.M)} reference samples each; N = ${plain(task.N)}`;
  return `<p class="lead">${names}, ${counts}.</p>`;
}

/** Results by method; a column that no method has a number for is left out. */
export function resultsTable(comparison: Comparison): Html {
  const columns = resultColumns(comparison.methods);
  const styles = stylesOf(comparison);
  const head = [
    cell("Method"),
    ...columns.map(({ title, unit }) => numeric(`${escapeHtml(title)}<small>${escapeHtml(unit)}</small>`)),
  ];
  const rows = comparison.methods.map((method) => ({
    cells: [cell(methodHtml(method, styles)), ...columns.map((column) => resultCell(column, method))],
    ...(method.name === "reference" ? { className: "base" } : {}),
  }));
  return table(head, rows);
}

/** A series' name behind its mark. */
export const glyphName = (name: string, styles: ReadonlyMap<string, SeriesStyle>): Html =>
  methodHtml({ name }, styles);

function methodHtml(
  { name, setting }: Pick<MethodResult, "name" | "setting">,
  styles: ReadonlyMap<string, SeriesStyle>,
): Html {
  const detail = setting === undefined ? "" : `<small>${escapeHtml(oneLine(setting))}</small>`;
  return `${glyph(styles.get(name), name === "reference")}${escapeHtml(oneLine(name))}${detail}`;
}

function resultCell({ value, show, spread }: ResultColumn, method: MethodResult): Cell {
  const small = spread?.(method) ?? "";
  return numeric(
    numberHtml(value(method), show(method)) + (small === "" ? "" : `<small>${escapeHtml(small)}</small>`),
  );
}

/** Best-of-N by N; nothing where no curve was measured. */
export function bonTable({ bonCurve }: Comparison): Html {
  if (bonCurve.length === 0) return "";
  const head = [cell("Best-of-N"), ...bonCurve.map(({ n }) => numeric(`N = ${n}`))];
  const line = (name: string, values: readonly number[]): { cells: readonly Cell[] } => ({
    cells: [cell(name), ...values.map((value) => numeric(numberHtml(value, fixed(value))))],
  });
  return table(head, [
    line(
      "Reward",
      bonCurve.map((point) => point.reward),
    ),
    line(
      "Win rate",
      bonCurve.map((point) => point.win),
    ),
    line(
      "KL bound, nats",
      bonCurve.map((point) => point.kl),
    ),
  ]);
}

/** One card per prompt: the prompt, and each method's response with its score and rank. */
export function sampleCards(comparison: Comparison): readonly Html[] {
  const styles = stylesOf(comparison);
  return comparison.samples.map((sample) => sampleCard(sample, styles));
}

function sampleCard({ prompt, rows }: PromptSamples, styles: ReadonlyMap<string, SeriesStyle>): Html {
  const head = `<colgroup><col style="width:130px"><col><col style="width:84px"><col style="width:84px"></colgroup>
<thead><tr><th scope="col">Method</th><th scope="col">Response</th><th scope="col" class="number">Score</th><th scope="col" class="number">Rank</th></tr></thead>`;
  const body = rows.map((row) => sampleRow(row, styles)).join("\n");
  return `<article class="sample">
<h3><span>Prompt</span><bdi dir="auto">${escapeHtml(prompt)}</bdi></h3>
<table>${head}
<tbody>
${body}
</tbody></table></article>`;
}

function sampleRow({ method, text, score, rank }: SampleRow, styles: ReadonlyMap<string, SeriesStyle>): Html {
  const response = text.trim() === "" ? "(empty)" : text.trim();
  return `<tr><th scope="row">${methodHtml({ name: method }, styles)}</th><td dir="auto" class="text">${escapeHtml(response)}</td>
<td class="number">${numberHtml(score, fixed(score))}</td><td class="number">${numberHtml(rank, fixed(rank))}</td></tr>`;
}

/** Settings, versions and durations: what someone needs to get the same numbers again. */
export function settingsList(task: Task): readonly Html[] {
  const settings: (readonly [string, string])[] = [
    ["Policy and reference", task.policy],
    ["Reward", task.reward],
    ["Test prompts", plain(task.prompts)],
    ["Reference samples per prompt, M", plain(task.M)],
    ["N", plain(task.N)],
    ["New tokens at most", plain(task.maxNewTokens)],
    ["Temperature", plain(task.temperature)],
    ["Seed", String(task.seed)],
    ...Object.entries(task.settings ?? {}).map(([name, value]) => [sentence(name), plain(value)] as const),
    ["Measured on", task.machine],
    ["Date", task.date],
    ["Version", `vbon ${task.version}`],
  ];
  const times = Object.entries(task.durations).map(
    ([name, seconds]) => [sentence(name), duration(seconds)] as const,
  );
  return [definitions(settings), times.length === 0 ? "" : `<h3>Time taken</h3>${definitions(times)}`];
}

function sentence(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

function cell(html: Html): Cell {
  return { html, numeric: false };
}

function numeric(html: Html): Cell {
  return { html, numeric: true };
}
