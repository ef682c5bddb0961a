/** A sweep made ready: every command of it checked before the first one runs. */
import { join } from "node:path";
import { nFromBeta } from "../../align/best-of-n/log-bon.ts";
import { exists, readJson } from "../../data/files.ts";
import { isRecord } from "../../data/json.ts";
import { ConfigError } from "../../errors.ts";
import { SOUP } from "../../report/types.ts";
import { ALIGN_CHANGEABLE, type AlignFlags } from "../align/schema.ts";
import { align } from "../commands/align.ts";
import { average } from "../commands/average.ts";
import { cache } from "../commands/cache.ts";
import { evaluate } from "../commands/evaluate.ts";
import { type Point, pointsOf, type Settings, type SweepFile } from "./file.ts";
import { type Task, taskOf } from "./nested.ts";

/** A command, and the file by which it is known to have ended well. */
export interface Step extends Task {
  readonly made: string;
  /** A folder that it writes anew: what a stopped attempt has left of it goes first. */
  readonly clears?: string;
}

/** A run, or the average of several, and what follows it. */
export interface PlannedRun {
  readonly point: Point;
  readonly folder: string;
  /** Of `vbon align`; of an average, its first run's. */
  readonly config: Task["config"];
  /** What leads to evaluation.json, in order. */
  readonly steps: readonly Step[];
  /** Of an average: the runs whose models it takes. */
  readonly after?: readonly PlannedRun[];
  /** What `vbon evaluate` makes of the run's model, by name. */
  readonly evaluations: ReadonlyMap<string, Task>;
}

/** All that a sweep does. */
export interface SweepPlan {
  readonly file: SweepFile;
  readonly out: string;
  /** Caches by name; they come first. */
  readonly caches: ReadonlyMap<string, Task>;
  readonly runs: readonly PlannedRun[];
  /** Models and rewards that many runs open. */
  readonly shared: readonly string[];
}

/**
 * Checks the settings of every command, and that what the folder holds already was made with them.
 * @throws ConfigError naming the run
 */
export async function planSweep(file: SweepFile, out: string): Promise<SweepPlan> {
  const path = (name: Settings[string] | undefined): string =>
    typeof name === "string" && name in file.caches ? join(out, "caches", `${name}.jsonl`) : String(name);
  const caches = new Map<string, Task>();
  for (const [name, settings] of Object.entries(file.caches)) {
    caches.set(name, await named(name, taskOf(cache, { ...settings, out: path(name) })));
  }
  const runs: PlannedRun[] = [];
  for (const point of pointsOf(file)) {
    runs.push(await named(point.id, planRun(point, file, join(out, "runs", point.id), path)));
  }
  const soups = file.soup ? soupsOf(runs) : [];
  for (const [point, seeds] of soups) {
    const folder = join(out, "runs", point.id);
    runs.push(await named(point.id, planSoup(point, seeds, file, folder, path)));
  }
  const shared = new Set(
    [file.align, ...runs.map(({ point }) => point.settings), ...Object.values(file.evaluations)].flatMap(
      ({ policy, reward, evalReward }) => [policy, reward, evalReward].filter((x) => typeof x === "string"),
    ),
  );
  return { file, out, caches, runs, shared: [...shared] };
}

type PathOf = (name: Settings[string] | undefined) => string;

async function planRun(point: Point, file: SweepFile, folder: string, path: PathOf): Promise<PlannedRun> {
  const { cache: train, evalCache: test, ...rest } = point.settings;
  if (test === undefined)
    throw new ConfigError(
      'a sweep compares runs on held-out prompts; expected "evalCache" among the settings of "align"',
    );
  const caches = { ...(train !== undefined && { cache: path(train) }), evalCache: path(test) };
  const started = await exists(join(folder, "config.json"));
  const task = await taskOf(align, { ...rest, ...caches, out: folder });
  if (started) await checkSame(task, folder);
  const config = { ...task.config, resume: started };
  const steps = [{ ...task, config, made: join(folder, "evaluation.json") }];
  return { point, folder, config, steps, evaluations: await evaluationsOf(point, file, folder, path) };
}

/** What is made of the model in `folder` beside its own evaluation. */
async function evaluationsOf(
  point: Point,
  file: SweepFile,
  folder: string,
  path: PathOf,
): Promise<PlannedRun["evaluations"]> {
  const evaluations = new Map<string, Task>();
  for (const [name, settings] of Object.entries(file.evaluations)) {
    const { policy: reference, reward } = point.settings;
    const models = { reference: String(reference), reward: String(reward), policy: join(folder, "model") };
    const own = { ...models, ...settings, cache: path(settings["cache"]) };
    evaluations.set(
      name,
      await taskOf(evaluate, { ...own, out: join(folder, "evaluations", `${name}.json`) }),
    );
  }
  return evaluations;
}

/** Runs that differ in their seed alone, of which there are several, under the point of their average. */
function soupsOf(runs: readonly PlannedRun[]): (readonly [Point, readonly PlannedRun[]])[] {
  const groups = new Map<string, PlannedRun[]>();
  for (const run of runs) {
    const key = `${run.point.series} ${run.point.knob}`;
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  return [...groups.values()]
    .filter((seeds) => seeds.length > 1)
    .map((seeds) => {
      const { point } = seeds[0]!;
      const listed = seeds.map((run) => run.point.seed).join("+");
      const id = point.id.replace(/seed\d+$/, `soup${listed}`);
      return [{ ...point, id, series: `${point.series}${SOUP}` }, seeds];
    });
}

/** The average of the weights of `seeds`, evaluated as they are. */
async function planSoup(
  point: Point,
  seeds: readonly PlannedRun[],
  file: SweepFile,
  folder: string,
  path: PathOf,
): Promise<PlannedRun> {
  const { config } = seeds[0]!;
  const { policy, reward, evalReward, evalSamples, n, beta, ...flags } = config as unknown as AlignFlags;
  const [model, evaluation] = [join(folder, "model"), join(folder, "evaluation.json")];
  const sources = seeds.map((run) => join(run.folder, "model"));
  const averaged = await taskOf(average, { out: model }, sources);
  const evaluated = await taskOf(evaluate, {
    policy: model,
    reference: policy,
    reward: evalReward ?? reward,
    cache: flags.evalCache!,
    samples: evalSamples,
    n: n ?? nFromBeta(beta!),
    frozenPrecision: flags.frozenPrecision,
    out: evaluation,
  });
  const steps = [
    { ...averaged, made: join(model, "README.md"), clears: model },
    { ...evaluated, made: evaluation },
  ];
  const evaluations = await evaluationsOf(point, file, folder, path);
  return { point, folder, config, steps, after: seeds, evaluations };
}

/** A folder's run must be the run that is planned; a flag that did not exist yet, or is not given, says its default. */
async function checkSame({ verb, config }: Task, folder: string): Promise<void> {
  const before = await readJson(join(folder, "config.json"));
  const free = new Set([...ALIGN_CHANGEABLE, "resume"]);
  for (const [key, field] of Object.entries(verb.schema.shape)) {
    const said = (settings: unknown): string =>
      JSON.stringify((isRecord(settings) ? settings[key] : undefined) ?? field.safeParse(undefined).data);
    const [was, is] = [said(before), said(config)];
    if (free.has(key) || was === is) continue;
    throw new ConfigError(
      `${folder} was run with ${key} ${was}, the sweep says ${is}; choose another --out, or delete that run`,
    );
  }
}

async function named<T>(name: string, planned: Promise<T>): Promise<T> {
  return planned.catch((error: unknown) => {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`sweep, ${name}: ${error.message}`);
  });
}
