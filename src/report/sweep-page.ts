/** A sweep as one HTML file: the paper's figures as far as its runs draw them, a table of all points, the numbers inside. */
import type { AnalysisResult } from "../align/analyses/analysis.ts";
import { paretoShare } from "../evaluate/pareto.ts";
import { curvesChart, rewardAgainstKl, winAgainstKl } from "./charts.ts";
import { csvOf, POINT_COLUMNS, toJson } from "./downloads.ts";
import { fixed, percent } from "./format.ts";
import { type Cell, figure, type Html, numberHtml, section, table } from "./html.ts";
import { downloadLinks, htmlPage } from "./page.ts";
import { glyphName, sampleCards, settingsList } from "./page-sections.ts";
import { stylesOf } from "./palette.ts";
import { meansOver, type SpreadOptions } from "./spread.ts";
import { escapeHtml } from "./text.ts";
import { type Comparison, type PromptSamples, SOUP, type SweepResults, type SweepRow } from "./types.ts";

/** What a page shows of a sweep beside its points. */
export interface SweepReport {
  readonly results: SweepResults;
  /** Responses of a run of each series, side by side, and how these runs were chosen. */
  readonly samples: readonly PromptSamples[];
  readonly samplesNote: string;
  /** Of the train cache: Figure 3 and Table 1, where its samples are enough. */
  readonly analyses: readonly { readonly heading: string; readonly result: AnalysisResult }[];
}

/** The evaluation that runs end with. */
const HELD_OUT = "held-out";
/** What the paper draws in Figure 2: the fine-tuning methods but BoN-SFT; the bounds are Figure 6. */
const APART = ["bon-sft", "vbon-l", "vbon-lle"];

/** @returns a complete HTML document; the same records give the same bytes. */
export async function renderSweep(report: SweepReport): Promise<string> {
  const { results, samples, samplesNote } = report;
  const comparison = comparisonOf(results, samples);
  const all = [...new Set(comparison.methods.map(({ name }) => name))].filter((n) => n !== "reference");
  const soups = all.filter((name) => name.endsWith(SOUP));
  const names = all.filter((name) => !soups.includes(name));
  const bounds = names.filter((name) => name === "vbon" || name.startsWith("vbon-l"));
  const main = names.filter((name) => !APART.includes(name));
  const draw = (title: string, only: readonly string[], id: string, when: boolean): Promise<Html> =>
    when ? frontiers(comparison, title, only, id) : Promise.resolve("");
  const sections = await Promise.all([
    draw(
      "Figures 2a and 2b: win rate and reward against KL",
      main,
      "fig2",
      main.length > 0 && !onlyM(results),
    ),
    draw("Figure 6: the exact objective and its bounds", bounds, "fig6", bounds.length > 1),
    draw(
      "Figure 7: with BoN-SFT",
      [...main, "bon-sft"],
      "fig7",
      names.includes("bon-sft") && main.length > 0,
    ),
    draw(
      "Soups: weights averaged over seeds",
      soups.flatMap((soup) => [soup.slice(0, -SOUP.length), soup]),
      "soups",
      soups.length > 0,
    ),
    samplesNeeded(results),
    temperatures(results),
    ...judgesOf(results).map((judge) =>
      frontiers(comparisonOf(results, samples, judge), `Judged again: ${judge}`, main, `judged-${judge}`),
    ),
    ...report.analyses.map(({ heading, result }) => analysisSection(heading, result)),
    section("All points", pointsTable(results), failures(results)),
    section("Responses", samples.length > 0 ? note(samplesNote) : "", ...sampleCards(comparison)),
    section("Setting", ...settingsList(results.task)),
  ]);
  const { task, title, rows } = results;
  const lead = `<p class="lead">${escapeHtml(task.policy)}, aligned to ${escapeHtml(task.reward)}: ${new Set(rows.map(({ id }) => id)).size} runs, each judged on ${task.prompts} held-out prompts.</p>`;
  const links = downloadLinks([
    ["points.json", "application/json", toJson(results), "All points (JSON)"],
    ["points.csv", "text/csv", csvOf(rows, POINT_COLUMNS), "All points (CSV)"],
  ]);
  return htmlPage({ title, version: task.version, header: [lead, links], sections });
}

const note = (text: string): Html => `<p class="note">${escapeHtml(text)}</p>`;

const heldOut = ({ rows }: SweepResults): SweepRow[] => rows.filter((row) => row.evaluation === HELD_OUT);

/** Whether M is all that differs: its runs have a figure of their own. */
const onlyM = (results: SweepResults): boolean =>
  heldOut(results).every(({ setting = "" }) => /^M = [\d.]+$/.test(setting));

function comparisonOf(
  results: SweepResults,
  samples: readonly PromptSamples[],
  evaluation = HELD_OUT,
): Comparison {
  const baseline = results.baselines[evaluation];
  const rows = results.rows.filter((row) => row.evaluation === evaluation);
  return {
    title: results.title,
    task: results.task,
    methods: [...(baseline ? [baseline.reference] : []), ...rows],
    bonCurve: baseline?.bonCurve ?? [],
    trainingCurves: {},
    cdfs: [],
    samples,
  };
}

async function frontiers(
  comparison: Comparison,
  title: string,
  only: readonly string[],
  id: string,
): Promise<Html> {
  const options = { only: ["reference", ...only], fronts: true };
  const [win, reward] = await Promise.all([
    winAgainstKl(comparison, { ...options, id: `${id}-win` }),
    rewardAgainstKl(comparison, { ...options, id: `${id}-reward` }),
  ]);
  const caption =
    "Every point is a run, seeds apart. Those on their series' own Pareto front are joined, the others faded. Bars are 95 % intervals; the black curve is Best-of-N at the bound on its KL.";
  const pair = [
    figure(win, `${title}: win rate`, caption),
    figure(reward, `${title}: reward`, "Mean reward of the same runs."),
  ];
  return section(title, `<div class="pair">${pair.join("\n")}</div>`, shareTable(comparison, only));
}

/** Which series own the front of all points together (alignment.md 3.1). */
function shareTable(comparison: Comparison, only: readonly string[]): Html {
  const rows = comparison.methods.filter(({ name }) => only.includes(name));
  const styles = stylesOf(comparison);
  const shares = (["win", "reward"] as const).map((key) =>
    paretoShare(rows.map(({ name: method, kl, [key]: value }) => ({ method, kl, value }))),
  );
  const body = only
    .filter((name) => rows.some((row) => row.name === name))
    .map((name) => ({
      cells: [
        text(glyphName(name, styles)),
        number(rows.filter((row) => row.name === name).length, 0),
        ...shares.map((share) => numeric(percent(share.get(name) ?? 0, 0))),
      ],
    }));
  const head = ["Series", "Runs", "Share of the front of win rates", "Share of the front of rewards"];
  return table(
    head.map((title, i) => (i === 0 ? text(title) : numeric(title))),
    body,
  );
}

/** Figure 4: runs that differ in M. */
async function samplesNeeded(results: SweepResults): Promise<Html> {
  const rows = heldOut(results).filter(({ maxSamples }) => maxSamples !== undefined);
  if (new Set(rows.map(({ maxSamples }) => maxSamples)).size < 2) return "";
  const title = "Figure 4: how many cached samples M are enough";
  const shared = { logX: true, panel: () => "" };
  const byNumber = { ...shared, title, id: "fig4", x: "cached samples a prompt, M" };
  const figures = [await spreadFigure(rows, { ...byNumber, at: ({ maxSamples }) => maxSamples! })];
  const timed = rows.filter(({ samplingSeconds }) => samplingSeconds !== undefined);
  const byTime = {
    ...shared,
    title: "Figure 4, by what sampling took",
    id: "fig4-time",
    x: "seconds of sampling",
  };
  if (timed.length > 0)
    figures.push(await spreadFigure(timed, { ...byTime, at: ({ samplingSeconds }) => samplingSeconds! }));
  return figures.join("\n");
}

/** What evaluations at a temperature end with: "T0.5". */
const AT_TEMPERATURE = /-?T[\d.]+$/;

/** Further evaluations that are not Figure 5's: other rewards, other prompts. */
const judgesOf = ({ rows }: SweepResults): string[] =>
  [...new Set(rows.map(({ evaluation }) => evaluation))].filter(
    (name) => name !== HELD_OUT && !AT_TEMPERATURE.test(name),
  );

/** Figure 5: the same models at several temperatures; the first letters of an evaluation's name are its panel. */
async function temperatures({ rows, baselines, task }: SweepResults): Promise<Html> {
  const further = rows.filter(({ evaluation }) => AT_TEMPERATURE.test(evaluation));
  if (new Set(further.map(({ temperature }) => temperature)).size < 2) return "";
  const panel = ({ evaluation }: SweepRow): string => evaluation.replace(AT_TEMPERATURE, "");
  const body = await spreadFigure([...further, ...baselineRows(further, baselines, task.N)], {
    title: "Figure 5: sampling temperatures",
    id: "fig5",
    x: "temperature",
    at: ({ temperature }) => temperature,
    panel,
  });
  return Object.keys(baselines).length > 1 ? body : "";
}

/** What the runs stand between at each temperature: the reference, and Best-of-`n` of its samples. */
function baselineRows(
  rows: readonly SweepRow[],
  baselines: SweepResults["baselines"],
  n: number,
): SweepRow[] {
  const known = new Map(rows.map(({ evaluation, temperature }) => [evaluation, temperature]));
  return [...known].flatMap(([evaluation, temperature]) => {
    const baseline = baselines[evaluation];
    if (!baseline) return [];
    const { reference, bonCurve } = baseline;
    const at = { id: "", method: "", seed: 0, evaluation, temperature };
    const best = bonCurve.find((point) => point.n === n);
    const own = { ...reference, ...at, name: "reference" };
    return best ? [own, { ...own, win: best.win, reward: best.reward, name: `Best-of-${n}` }] : [own];
  });
}

interface SpreadFigure extends SpreadOptions {
  readonly title: string;
  readonly id: string;
  readonly x: string;
  readonly logX?: boolean;
}

/** Means and standard deviations over seeds, of win rate and of reward. */
async function spreadFigure(rows: readonly SweepRow[], options: SpreadFigure): Promise<Html> {
  const { title, id, x, logX = false } = options;
  const svg = await curvesChart({ x, y: "", step: false, logX, curves: meansOver(rows, options) }, id);
  const caption =
    "Means over seeds; bars are one standard deviation of a single seed, where there are several.";
  return section(title, figure(svg, title, caption));
}

async function analysisSection(
  heading: string,
  { columns, rows, notes, picture }: AnalysisResult,
): Promise<Html> {
  const drawn = picture
    ? figure(await curvesChart(picture, heading.replaceAll(/\W+/g, "-")), heading, "")
    : "";
  const body = rows.map((row) => ({
    cells: columns.map(({ key, digits }) => {
      const value = row[key];
      return typeof value === "number" ? number(value, digits ?? 0) : text(escapeHtml(value ?? "–"));
    }),
  }));
  const head = columns.map(({ title, digits }) =>
    digits === undefined ? text(escapeHtml(title)) : numeric(escapeHtml(title)),
  );
  return section(heading, drawn, table(head, body), ...notes.map(note));
}

function pointsTable(results: SweepResults): Html {
  const styles = stylesOf(comparisonOf(results, []));
  const columns: readonly (readonly [string, number, (row: SweepRow) => number | undefined])[] = [
    ["Seed", 0, (row) => row.seed],
    ["Win rate", 3, (row) => row.win],
    ["Reward", 3, (row) => row.reward],
    ["KL, nats", 3, (row) => row.kl],
    ["± s.e.", 3, (row) => row.klSe],
    ["Length", 1, (row) => row.length],
    ["Distinct-2", 3, (row) => row.distinct2],
    ["Seconds", 0, (row) => row.seconds],
  ];
  const head = [
    text("Series"),
    text("Knob"),
    text("Evaluation"),
    ...columns.map(([title]) => numeric(title)),
  ];
  const body = results.rows.map((row) => ({
    cells: [
      text(glyphName(row.name, styles)),
      text(escapeHtml(row.setting ?? "")),
      text(escapeHtml(row.evaluation)),
      ...columns.map(([, digits, value]) => number(value(row), digits)),
    ],
  }));
  return table(head, body);
}

function failures({ failed }: SweepResults): Html {
  const entries = Object.entries(failed);
  if (entries.length === 0) return "";
  const lines = entries.map(([id, why]) => `<li>${escapeHtml(`${id}: ${why.split("\n")[0]}`)}</li>`);
  return `<p class="note">Runs without a result:</p><ul>${lines.join("")}</ul>`;
}

const text = (html: Html): Cell => ({ html, numeric: false });
const numeric = (html: Html): Cell => ({ html, numeric: true });
const number = (value: number | undefined, digits: number): Cell =>
  numeric(numberHtml(value, fixed(value, digits)));
