/** One run, or a comparison of methods, as one HTML file: no network, no script, everything inside. */
import {
  cdfChart,
  drawnCdfs,
  loggedQuantities,
  rewardAgainstKl,
  trainingCurves,
  winAgainstKl,
} from "./charts.ts";
import { dataUri, sizeOf, toCsv, toJson } from "./downloads.ts";
import { figure, type Html, section } from "./html.ts";
import { PAGE_STYLE } from "./page-style.ts";
import { bonTable, lead, resultsTable, sampleCards, settingsList } from "./page-sections.ts";
import { resultNotes } from "./results-columns.ts";
import { escapeHtml, oneLine } from "./text.ts";
import type { Comparison } from "./types.ts";

// Says to the browser what is true of the page anyway: whatever text a model wrote, nothing runs and nothing is fetched.
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/**
 * Draws the report of `comparison`. Sections without data are left out; text from models is escaped and its control
 * and bidirectional characters are spelled out. The same records give the same bytes.
 * @returns a complete HTML document.
 */
export async function renderReport(comparison: Comparison): Promise<string> {
  const sections = await Promise.all([
    results(comparison),
    frontiers(comparison),
    training(comparison),
    distributions(comparison),
    section("Samples", ...sampleCards(comparison)),
    section("Setting", ...settingsList(comparison.task)),
  ]);
  const header = [
    lead(comparison),
    downloadLinks([
      ["comparison.json", "application/json", toJson(comparison), "All numbers and samples (JSON)"],
      ["results.csv", "text/csv", toCsv(comparison), "Results table (CSV)"],
    ]),
  ];
  return htmlPage({ title: comparison.title, version: comparison.task.version, header, sections });
}

/** What a page consists of. */
export interface Page {
  readonly title: string;
  readonly version: string;
  /** Below the title. */
  readonly header: readonly Html[];
  readonly sections: readonly Html[];
}

/** A complete HTML document. */
export function htmlPage({ title: text, version, header, sections }: Page): Html {
  const title = escapeHtml(oneLine(text));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="generator" content="vbon ${escapeHtml(version)}">
<title>${title}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${title}</h1>
${header.join("\n")}
</header>
${sections.filter(Boolean).join("\n")}
</main>
</body>
</html>
`;
}

/** A file inside the page: its name, its type, its text, what it is. */
export type Download = readonly [name: string, type: string, text: string, what: string];

/** Links that hold files. */
export function downloadLinks(files: readonly Download[]): Html {
  const links = files.map(
    ([name, type, text, what]) =>
      `<a download="${name}" href="${dataUri(type, text)}">${what}, ${sizeOf(text)}</a>`,
  );
  return `<p class="downloads">${links.join("\n")}</p>`;
}

function results(comparison: Comparison): Html {
  if (comparison.methods.length === 0) return "";
  return section(
    "Results",
    resultsTable(comparison),
    `<p class="note">${resultNotes(comparison.methods).map(escapeHtml).join(" ")}</p>`,
  );
}

async function frontiers(comparison: Comparison): Promise<Html> {
  if (comparison.methods.length + comparison.bonCurve.length === 0) return "";
  const [reward, win] = await Promise.all([rewardAgainstKl(comparison), winAgainstKl(comparison)]);
  const bars = (some: boolean): string => (some ? " Bars are 95 % intervals." : "");
  const bon =
    comparison.bonCurve.length === 0
      ? ""
      : " The curve is Best-of-N, at the bound log N \u2212 (N \u2212 1)/N on its KL.";
  const pair = [
    figure(
      reward,
      "Mean reward against KL from the reference",
      `Mean reward on the test prompts.${bars(comparison.methods.some((m) => m.rewardSe !== undefined))}${bon}`,
    ),
    figure(
      win,
      "Win rate against KL from the reference",
      `Win rate on the test prompts.${bars(comparison.methods.some((m) => m.winInterval !== undefined))} Up and to the left is better.`,
    ),
  ];
  return section(
    "Reward and win rate against KL",
    `<div class="pair">${pair.join("\n")}</div>`,
    bonTable(comparison),
  );
}

async function training(comparison: Comparison): Promise<Html> {
  if (loggedQuantities(comparison).length === 0) return "";
  const svg = await trainingCurves(comparison);
  const caption =
    "What each method logged while it was trained. Episodes are sampled responses; methods that do not sample count the pairs or texts that they saw.";
  return section("Training", figure(svg, "Training curves, one panel per quantity", caption));
}

async function distributions({ cdfs, task }: Comparison): Promise<Html> {
  const drawn = drawnCdfs(cdfs);
  if (drawn.length === 0) return "";
  const svg = await cdfChart(cdfs, task.reward);
  const some =
    drawn.length < cdfs.length
      ? ` ${drawn.length} of ${cdfs.length} prompts are drawn; all are in the JSON.`
      : "";
  const caption = `Smoothed to (k + 1)/(M + 1), where k of the prompt's M reference samples have a smaller reward.${some}`;
  return section(
    "Rewards under the reference",
    figure(svg, "Empirical CDF of rewards per prompt, and its logarithm", caption),
  );
}
