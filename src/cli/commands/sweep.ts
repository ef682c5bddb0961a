/** `vbon sweep`: a grid of runs, evaluated alike, in one table. */
import { join } from "node:path";
import { z } from "zod";
import { exists, readJson, writeFileAtomic } from "../../data/files.ts";
import { withFolder } from "../../data/lock.ts";
import { ConfigError } from "../../errors.ts";
import { formatTable } from "../../report/console-table.ts";
import { fixed } from "../../report/format.ts";
import type { SweepResults } from "../../report/types.ts";
import { nearest } from "../arguments/nearest.ts";
import { machineName } from "../machine.ts";
import { SweepFile } from "../sweep/file.ts";
import { fetchedSweep } from "../sweep/hub.ts";
import { planSweep, type SweepPlan } from "../sweep/plan.ts";
import { preset, presetNames } from "../sweep/presets.ts";
import { HELD_OUT, sweepResults, writeResults } from "../sweep/results.ts";
import { runSweep } from "../sweep/run.ts";
import { type AnyVerb, defineVerb, type Io, namesField } from "../verb.ts";

const schema = z.strictObject({
  names: namesField("a sweep's JSON file, or a preset: a figure of the paper in a size (--list)").meta({
    positional: true,
    hint: "FILE",
  }),
  out: z.string().optional().meta({
    description: "folder: caches/, runs/, points.json, points.csv (default: runs/ and the sweep's name)",
    hint: "DIR",
  }),
  parallel: z.number().int().positive().default(1).meta({ description: "runs side by side on one device" }),
  list: z.boolean().default(false).meta({ description: "only list the presets" }),
  dryRun: z.boolean().default(false).meta({ description: "only check every run, and list them" }),
  show: z.boolean().default(false).meta({ description: "only print a preset as a file, to change it" }),
});

type Config = z.output<typeof schema>;

/** Runs, points.json and points.csv in the folder; on stdout the points. Exit code 1 when a run failed. */
export const sweep: AnyVerb = defineVerb({
  name: "sweep",
  summary: "train a grid of methods, knobs and seeds, evaluate all of them alike; resumable",
  schema,
  examples: [
    { does: "Figure 2 in a minute: shows that it runs", line: "vbon sweep fig2-smoke" },
    { does: "the same figure in hours on two cores", line: "vbon sweep fig2-laptop --out runs/fig2" },
    { does: "a grid of your own, to begin with", line: "vbon sweep fig2-laptop --show > mine.json" },
    { does: "continue after a stop or a crash: the same command", line: "vbon sweep mine.json" },
    { does: "and draw it", line: "vbon report runs/mine" },
  ],
  async run(config, io) {
    if (config.list) return list(io);
    const { name, file } = await openSweep(config);
    if (config.show)
      return io.result(file as object as Record<string, unknown>, JSON.stringify(file, null, 2));
    const plan = await planSweep(await fetchedSweep(file, io), config.out ?? join("runs", name));
    if (config.dryRun) return show(plan, io);
    return withFolder(plan.out, () => work(plan, config, io));
  },
});

function list(io: Io): void {
  for (const name of presetNames)
    io.result({ preset: name, title: preset(name)!.title }, `${name.padEnd(14)} ${preset(name)!.title}`);
}

async function openSweep({ names }: Config): Promise<{ name: string; file: SweepFile }> {
  const [name, ...more] = names;
  if (name === undefined || more.length > 0)
    throw new ConfigError(
      `vbon sweep: expected one FILE.json or preset, got ${names.length}; --list names the presets`,
    );
  const found = preset(name);
  if (found) return { name, file: found };
  if (!(await exists(name))) {
    const near = nearest(name, presetNames);
    throw new ConfigError(
      `vbon sweep: there is no file ${name}, and no preset of that name${near === undefined ? "" : `; did you mean ${near}?`} (--list)`,
    );
  }
  return { name: stem(name), file: parsed(await readJson(name), name) };
}

const stem = (path: string): string => path.replace(/^.*[\\/]/, "").replace(/\.json$/, "");

function parsed(value: unknown, path: string): SweepFile {
  const checked = SweepFile.safeParse(value);
  if (checked.success) return checked.data;
  throw new ConfigError(`${path}: is no sweep\n${z.prettifyError(checked.error)}`);
}

function show({ runs, caches }: SweepPlan, io: Io): void {
  for (const name of caches.keys()) io.result({ cache: name }, `cache ${name}`);
  for (const { point } of runs) io.result({ run: point.id, settings: point.settings }, point.id);
}

async function work(plan: SweepPlan, { parallel }: Config, io: Io): Promise<"failed" | void> {
  const { out, file } = plan;
  await writeFileAtomic(join(out, "sweep.json"), `${JSON.stringify(file, null, 2)}\n`);
  const machine = machineName(await io.device());
  const write = async (): Promise<SweepResults> => {
    const results = await sweepResults(plan, machine);
    await writeResults(out, results);
    return results;
  };
  const { failed } = await runSweep(plan, parallel, io, async () => void (await write()));
  const results = await write();
  io.result(results as object as Record<string, unknown>, tableOf(results));
  const left = plan.runs.length - new Set(results.rows.map(({ id }) => id)).size;
  if (io.signal.aborted) io.note(`stopped with ${left} runs to do; the same command continues`);
  else io.note(`${out}/points.csv; draw it with: vbon report ${out}`);
  return failed.length > 0 ? "failed" : undefined;
}

function tableOf({ rows }: SweepResults): string {
  return formatTable(
    rows.filter(({ evaluation }) => evaluation === HELD_OUT),
    [
      { title: "run", value: (row) => row.id },
      { title: "win rate", value: (row) => fixed(row.win), align: "right" },
      { title: "reward", value: (row) => fixed(row.reward), align: "right" },
      { title: "KL", value: (row) => fixed(row.kl), align: "right" },
      { title: "seconds", value: (row) => row.seconds, digits: 0, align: "right" },
    ],
  );
}
