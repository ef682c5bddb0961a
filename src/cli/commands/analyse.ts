/** `vbon analyse`: what a reward cache says, without a model and without a device. */
import { z } from "zod";
import { type Analysis, type AnalysisResult, analyses, promptsOf } from "../../align/analyses/index.ts";
import { readCache } from "../../align/cache-file.ts";
import { writeFileAtomic } from "../../data/files.ts";
import { ConfigError } from "../../errors.ts";
import { curvesChart } from "../../report/charts.ts";
import { formatTable } from "../../report/console-table.ts";
import { nearest } from "../nearest.ts";
import { type AnyVerb, defineVerb, namesField } from "../verb.ts";

const NAMES = analyses.map(({ name }) => name);

const schema = z.strictObject({
  names: namesField(
    `${analyses.map(({ name, question }) => `${name}: ${question}`).join("; ")}; without any, all`,
  ),
  cache: z.string().meta({ description: "the reference's scores (`vbon cache`)", hint: "FILE.jsonl" }),
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

/** A table an analysis on stdout; with `--json` or `--out` every number, and the curves. */
export const analyse: AnyVerb = defineVerb({
  name: "analyse",
  summary: "what a reward cache says: how many samples are enough, ties, fits, Best-of-N curves",
  schema,
  examples: [
    {
      does: "Table 1 of the paper for a cache of 600 samples a prompt",
      line: "vbon analyse ks --cache train.jsonl",
    },
    { does: "Figure 3, drawn", line: "vbon analyse logf --cache train.jsonl --svg logf.svg" },
    { does: "everything", line: "vbon analyse --cache train.jsonl" },
  ],
  async run(config, io) {
    const chosen = config.names.length === 0 ? analyses : config.names.map(find);
    if (config.svg !== undefined && chosen.length !== 1)
      throw new ConfigError("vbon analyse: --svg draws one analysis; name it, logf or bon");
    const prompts = promptsOf(await readCache(config.cache));
    const settings = { ...numbers("m", config.m), ...numbers("n", config.n), alpha: config.alpha };
    const done: object[] = [];
    for (const analysis of chosen) {
      if (io.signal.aborted) break;
      io.note(`analyse: ${analysis.name}, ${prompts.length} prompts`);
      const result = analysis.run(prompts, settings);
      done.push({ name: analysis.name, ...result });
      io.result({ name: analysis.name, ...result }, textOf(analysis, result));
      if (config.svg !== undefined) await draw(config.svg, analysis, result);
    }
    if (config.out !== undefined) await writeFileAtomic(config.out, `${JSON.stringify(done, null, 2)}\n`);
  },
});

/** @throws ConfigError for a name that is none, with the nearest that is. */
function find(name: string): Analysis {
  const found = analyses.find((analysis) => analysis.name === name);
  if (found) return found;
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

function textOf({ question }: Analysis, { columns, rows, notes }: AnalysisResult): string {
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

async function draw(path: string, { name }: Analysis, { picture }: AnalysisResult): Promise<void> {
  if (!picture) throw new ConfigError(`vbon analyse: ${name} has no picture; --svg draws logf or bon`);
  await writeFileAtomic(path, await curvesChart(picture, name));
}
