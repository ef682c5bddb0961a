/** A sweep made ready: every command of it checked before the first one runs. */
import { join } from "node:path";
import { exists, readJson } from "../../data/files.ts";
import { isRecord } from "../../data/json.ts";
import { ConfigError } from "../../errors.ts";
import { ALIGN_CHANGEABLE } from "../align-schema.ts";
import { align } from "../commands/align.ts";
import { cache } from "../commands/cache.ts";
import { evaluate } from "../commands/evaluate.ts";
import { type Point, pointsOf, type Settings, type SweepFile } from "./file.ts";
import { type Task, taskOf } from "./nested.ts";

/** A run and what follows it. */
export interface PlannedRun {
  readonly point: Point;
  readonly folder: string;
  readonly task: Task;
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
  const shared = new Set(
    [file.align, ...runs.map(({ point }) => point.settings), ...Object.values(file.evaluations)].flatMap(
      ({ policy, reward, evalReward }) => [policy, reward, evalReward].filter((x) => typeof x === "string"),
    ),
  );
  return { file, out, caches, runs, shared: [...shared] };
}

async function planRun(
  point: Point,
  file: SweepFile,
  folder: string,
  path: (name: Settings[string] | undefined) => string,
): Promise<PlannedRun> {
  const { cache: train, evalCache: test, ...rest } = point.settings;
  if (test === undefined)
    throw new ConfigError(
      'a sweep compares runs on held-out prompts; expected "evalCache" among the settings of "align"',
    );
  const caches = { ...(train !== undefined && { cache: path(train) }), evalCache: path(test) };
  const started = await exists(join(folder, "config.json"));
  const task = await taskOf(align, { ...rest, ...caches, out: folder });
  if (started) await checkSame(task, folder);
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
  return { point, folder, task: { ...task, config: { ...task.config, resume: started } }, evaluations };
}

/** A folder's run must be the run that is planned. */
async function checkSame({ config }: Task, folder: string): Promise<void> {
  const before = await readJson(join(folder, "config.json"));
  const free = new Set([...ALIGN_CHANGEABLE, "resume"]);
  const differs = Object.keys(config).find(
    (key) =>
      !free.has(key) && isRecord(before) && JSON.stringify(before[key]) !== JSON.stringify(config[key]),
  );
  if (differs === undefined) return;
  const [was, is] = [isRecord(before) ? before[differs] : undefined, config[differs]].map((x) =>
    JSON.stringify(x),
  );
  throw new ConfigError(
    `${folder} was run with ${differs} ${was}, the sweep says ${is}; choose another --out, or delete that run`,
  );
}

async function named<T>(name: string, planned: Promise<T>): Promise<T> {
  return planned.catch((error: unknown) => {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`sweep, ${name}: ${error.message}`);
  });
}
