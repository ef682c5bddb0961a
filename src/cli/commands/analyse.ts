/** `vbon analyse`: what a reward cache, or the points of a sweep, say, without a model and without a device. */
import { z } from "zod";
import { type AnalysisResult, analyses, promptsOf } from "../../align/analyses/index.ts";
import { readCache } from "../../align/cache/file.ts";
import { writeFileAtomic } from "../../data/files.ts";
import { ConfigError } from "../../errors.ts";
import { curvesChart } from "../../report/charts.ts";
import { formatTable } from "../../report/console-table.ts";
import { nearest } from "../arguments/nearest.ts";
import { pointAnalyses } from "../sweep/analyses.ts";
import { readPoints } from "../sweep/results.ts";
import { type AnyVerb, defineVerb, namesField } from "../verb.ts";

const ALL = [...analyses, ...pointAnalyses];
const NAMES = ALL.map(({ name }) => name);

const schema = z.strictObject({
  names: namesField(
    `${ALL.map(({ name, question }) => `${name}: ${question}`).join("; ")}; without any, all that the data allow`,
  ),
  cache: z
    .string()
    .optional()
    .meta({ description: "the reference's scores (`vbon cache`)", hint: "FILE.jsonl" }),
  points: z
    .string()
    .optional()
    .meta({ description: "for pareto and kl: the folder of a sweep, or its points.json", hint: "DIR" }),
  m: z
    .string()
    .optional()
    .meta({ description: "numbers of samples, for ks and logf; one for cap", hint: "M[,M]" }),
  n: z.string().optional().meta({ description: "N of Best-of-N, for cap and bon", hint: "N[,N]" }),
  alpha: z.number().gt(0).lt(1).default(0.05).meta({ description: "level of the test of ks" }),
  out: z
    .string()
    .optional()
    .meta({ description: "also write the results there, as JSON", hint: "FILE.json" }),
  svg: z.string().optional().meta({ description: "draw logf or bon; one NAME only", hint: "FILE.svg" }),
});

type Config = z.output<typeof schema>;

/** A table an analysis on stdout; with `--json` or `--out` every number, and the curves. */
export const analyse: AnyVerb = defineVerb({
  name: "analyse",
  summary: "what a reward cache or a sweep says: samples needed, ties, fits, Best-of-N curves, Pareto fronts",
  schema,
  examples: [
    {
      does: "Table 1 of the paper for a cache of 600 samples a prompt",
      line: "vbon analyse ks --cache train.jsonl",
    },
    { does: "Figure 3, drawn", line: "vbon analyse logf --cache train.jsonl --svg logf.svg" },
    { does: "everything", line: "vbon analyse --cache train.jsonl" },
    { does: "who owns the front of a sweep", line: "vbon analyse pareto --points runs/fig2" },
  ],
  async run(config, io) {
    const jobs = await jobsOf(config);
    if (config.svg !== undefined && jobs.length !== 1)
      throw new ConfigError("vbon analyse: --svg draws one analysis; name it, logf or bon");
    const done: object[] = [];
    for (const { name, question, run } of jobs) {
      if (io.signal.aborted) break;
      io.note(`analyse: ${name}`);
      const result = run();
      done.push({ name, ...result });
      io.result({ name, ...result }, textOf(question, result));
      if (config.svg !== undefined) await draw(config.svg, name, result);
    }
    if (config.out !== undefined) await writeFileAtomic(config.out, `${JSON.stringify(done, null, 2)}\n`);
  },
});

/** An analysis with its data. */
interface Job {
  readonly name: string;
  readonly question: string;
  run(): AnalysisResult;
}

/** @throws ConfigError for a name that is none, or whose data are not given; FormatError for bad files */
async function jobsOf({ names, cache, points, m, n, alpha }: Config): Promise<Job[]> {
  const chosen = new Set(names.map(find));
  const wanted = <T extends { readonly name: string }>(list: readonly T[], given: boolean): T[] =>
    list.filter(({ name }) => (names.length === 0 ? given : chosen.has(name)));
  const [ofCache, ofPoints] = [
    wanted(analyses, cache !== undefined),
    wanted(pointAnalyses, points !== undefined),
  ];
  if (ofCache.length > 0 || (names.length === 0 && points === undefined))
    needed(cache, "--cache FILE.jsonl", ofCache);
  if (ofPoints.length > 0) needed(points, "--points DIR, the folder of a sweep", ofPoints);
  const prompts = ofCache.length > 0 ? promptsOf(await readCache(cache!)) : [];
  const settings = { ...numbers("m", m), ...numbers("n", n), alpha };
  const results = ofPoints.length > 0 ? await readPoints(points!) : undefined;
  return [
    ...ofCache.map((a) => ({ ...a, run: () => a.run(prompts, settings) })),
    ...ofPoints.map((a) => ({ ...a, run: () => a.run(results!) })),
  ];
}

function needed(path: string | undefined, what: string, by: readonly { readonly name: string }[]): void {
  if (path !== undefined) return;
  const who = by.map(({ name }) => name).join(", ") || "it";
  throw new ConfigError(`vbon analyse: ${what} is required: ${who} reads it`);
}

/** @throws ConfigError for a name that is none, with the nearest that is. */
function find(name: string): string {
  if (NAMES.includes(name)) return name;
  const near = nearest(name, NAMES);
  throw new ConfigError(
    `vbon analyse: "${name}" is no analysis; expected ${NAMES.join(", ")}${near === undefined ? "" : `; did you mean ${near}?`}`,
  );
}

/** @throws ConfigError for what is no list of numbers. */
function numbers<Key extends "m" | "n">(key: Key, list: string | undefined): { [K in Key]?: number[] } {
  if (list === undefined) return {};
  const values = list.split(",").map(Number);
  if (values.some((value) => !(value >= 1)))
    throw new ConfigError(
      `vbon analyse: --${key} ${list}: expected numbers of at least 1, separated by commas`,
    );
  return { [key]: values } as { [K in Key]?: number[] };
}

function textOf(question: string, { columns, rows, notes }: AnalysisResult): string {
  const table = formatTable(
    rows,
    columns.map(({ key, title, digits }) => ({
      title,
      value: (row: (typeof rows)[number]) => row[key],
      ...(digits !== undefined && { digits }),
      maxWidth: 48,
    })),
  );
  return `${question}\n${table}\n${notes.join("\n")}\n`;
}

async function draw(path: string, name: string, { picture }: AnalysisResult): Promise<void> {
  if (!picture) throw new ConfigError(`vbon analyse: ${name} has no picture; --svg draws logf or bon`);
  await writeFileAtomic(path, await curvesChart(picture, name));
}
