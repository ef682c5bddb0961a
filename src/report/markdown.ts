/** The model card: README.md of a checkpoint, with the front matter that the Hugging Face hub reads. */
import { duration, plain } from "./format.ts";
import { resultColumns, resultNotes } from "./results-columns.ts";
import { oneLine, visible } from "./text.ts";
import type { Comparison } from "./types.ts";

/** Material that the checkpoint was trained or judged with. */
export interface Attribution {
  readonly name: string;
  /** What it was used for. */
  readonly use: string;
  readonly licence: string;
  /** Authors, as the licence asks to name them. */
  readonly authors: string;
  readonly url?: string;
}

/** A command that made the checkpoint or uses it. */
export interface CardCommand {
  readonly what: string;
  readonly command: string;
}

/** What {@link renderModelCard} writes down. */
export interface ModelCard {
  readonly name: string;
  /** One or two sentences: what the model does. */
  readonly summary: string;
  /** SPDX identifier in lower case, as the hub spells it. */
  readonly license: string;
  readonly language: readonly string[];
  readonly tags: readonly string[];
  /** Hub id of the model it was trained from. */
  readonly baseModel?: string;
  /** Hub ids of data sets. */
  readonly datasets?: readonly string[];
  /** What the hub files it under; text generation by default. */
  readonly pipeline?: string;
  /** How it compares with others, of an aligned model. */
  readonly comparison?: Comparison;
  /** Results and settings of another one, by their names. */
  readonly results?: Facts;
  readonly settings?: Facts;
  readonly attributions: readonly Attribution[];
  readonly commands: readonly CardCommand[];
  /** What the model is not good for. */
  readonly limits?: readonly string[];
}

/** Names and values, in their order. */
export type Facts = readonly (readonly [name: string, value: string])[];

/** The model card as Markdown with YAML front matter, a newline at the end. Sections without content are left out. */
export function renderModelCard(card: ModelCard): string {
  const sections = [
    frontMatter(card),
    `# ${inline(card.name)}`,
    inline(card.summary),
    ...(card.comparison ? [results(card.comparison), settings(card.comparison)] : []),
    facts("Results", card.results),
    facts("Setting", card.settings),
    part("Commands", card.commands.map(command)),
    part(
      "Data and licences",
      card.attributions.length === 0 ? [] : [card.attributions.map(attribution).join("\n")],
    ),
    part("Limits", [(card.limits ?? []).map((limit) => `- ${inline(limit)}`).join("\n")]),
  ];
  return `${sections.filter(Boolean).join("\n\n")}\n`;
}

function frontMatter(card: ModelCard): string {
  // A JSON string is a YAML string: nothing in a name can end the block or change a type.
  const list = (key: string, values: readonly string[]): string[] =>
    values.length === 0 ? [] : [`${key}:`, ...values.map((value) => `- ${JSON.stringify(oneLine(value))}`)];
  return [
    "---",
    `license: ${JSON.stringify(oneLine(card.license))}`,
    ...list("language", card.language),
    `pipeline_tag: ${card.pipeline ?? "text-generation"}`,
    ...list("tags", card.tags),
    ...(card.baseModel === undefined ? [] : [`base_model: ${JSON.stringify(oneLine(card.baseModel))}`]),
    ...list("datasets", card.datasets ?? []),
    "---",
  ].join("\n");
}

function results({ methods, bonCurve, task }: Comparison): string {
  if (methods.length === 0) return "";
  const columns = resultColumns(methods);
  const head = ["Method", ...columns.map(({ title, unit }) => `${title} (${unit})`)];
  const rows = methods.map((method) => [
    inline([method.name, method.setting].filter(Boolean).join(", ")),
    ...columns.map(({ show, spread }) =>
      [show(method), brackets(spread?.(method))].filter(Boolean).join(" "),
    ),
  ]);
  const bon = bonCurve.map((point) => `N = ${point.n}: ${point.win.toFixed(3)}`).join("; ");
  const judged = `Reward: ${inline(task.reward)}. ${plain(task.prompts)} test prompts, ${plain(task.M)} reference samples each.`;
  return part("Results", [
    judged,
    markdownTable(head, rows),
    bon === "" ? "" : `Win rate of Best-of-N, from the cached samples: ${bon}.`,
    resultNotes(methods).join(" "),
  ]);
}

function brackets(spread: string | undefined): string {
  if (spread === undefined || spread === "") return "";
  return spread.startsWith("\u00B1") ? spread : `(${spread})`;
}

function settings({ task }: Comparison): string {
  return facts("Setting", [
    ["policy and reference", task.policy],
    ["N", plain(task.N)],
    ["reference samples per prompt, M", plain(task.M)],
    ["new tokens at most", plain(task.maxNewTokens)],
    ["temperature", plain(task.temperature)],
    ["seed", String(task.seed)],
    ...Object.entries(task.settings ?? {}).map(([name, value]) => [name, plain(value)] as const),
    ...Object.entries(task.durations).map(([name, seconds]) => [`time: ${name}`, duration(seconds)] as const),
    ["measured on", task.machine],
    ["date", task.date],
    ["version", `vbon ${task.version}`],
  ]);
}

function facts(heading: string, rows: Facts = []): string {
  if (rows.length === 0) return "";
  return part(heading, [
    markdownTable(
      ["", ""],
      rows.map((row) => row.map(inline)),
    ),
  ]);
}

function command({ what, command: text }: CardCommand): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${inline(what)}\n\n${fence}sh\n${visible(text).trim()}\n${fence}`;
}

function attribution({ name, use, licence, authors, url }: Attribution): string {
  const title =
    url === undefined
      ? inline(name)
      : `[${inline(name)}](<${encodeURI(oneLine(url)).replaceAll(">", "%3E")}>)`;
  return `- ${title}, ${inline(authors)}: ${inline(licence)}. ${inline(use)}`;
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const ruler = line(head.map((_, i) => (i === 0 || head.length === 2 ? "---" : "---:")));
  return [line(head), ruler, ...rows.map(line)].join("\n");
}

/** A heading over paragraphs; nothing where all are empty. */
function part(heading: string, paragraphs: readonly string[]): string {
  const content = paragraphs.filter(Boolean);
  return content.length === 0 ? "" : [`## ${heading}`, ...content].join("\n\n");
}

/** Text on one line, with the characters escaped that Markdown or HTML would read as markup. */
function inline(text: string): string {
  return oneLine(text).replace(/[\\`*_[\]<>|#~&]/g, "\\$&");
}
