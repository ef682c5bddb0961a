/** A sweep at work: caches, then the runs in lanes side by side; what is done is skipped, what was begun goes on. */
import { join } from "node:path";
import { ensureFolder, exists, removeFile, removeFolder, writeFileAtomic } from "../../data/files.ts";
import { ConfigError, messageOf, UserError } from "../../errors.ts";
import { share } from "../share.ts";
import type { Io } from "../verb.ts";
import { runTask } from "./nested.ts";
import type { PlannedRun, SweepPlan } from "./plan.ts";
import { costFile } from "./results.ts";

/** What became of the runs. */
export interface SweepEnd {
  readonly done: number;
  readonly failed: readonly string[];
}

/**
 * Does what of the plan is not done yet. A run that fails says why in its folder's error.txt, and the others go on.
 * @param parallel runs side by side
 * @param onRun hears of every run that has ended well
 */
export async function runSweep(
  plan: SweepPlan,
  parallel: number,
  io: Io,
  onRun: () => Promise<void>,
): Promise<SweepEnd> {
  await buildCaches(plan, io);
  if (io.signal.aborted) return { done: 0, failed: [] };
  share(await io.device(), plan.shared);
  const done = await Promise.all(plan.runs.map(isDone));
  const todo = plan.runs.filter((_, i) => !done[i]);
  const start = plan.runs.length - todo.length;
  const progress = io.progress({ label: "sweep", total: plan.runs.length, unit: "runs", start });
  const failed: string[] = [];
  let ended = start;
  const lane = async (queue: PlannedRun[]): Promise<void> => {
    for (let run = queue.shift(); run && !io.signal.aborted; run = queue.shift()) {
      const { id } = run.point;
      const show = (doing: string): void => progress.update(ended, `${id}: ${doing}`);
      const error = await attempt(run, io, show);
      if (io.signal.aborted && error === undefined && !(await isDone(run))) break;
      if (error !== undefined) failed.push(id);
      if (error !== undefined) io.note(`sweep: ${id} failed: ${error}`);
      progress.update(++ended, id);
      await onRun();
    }
  };
  // Averages come after all that they are of.
  for (const some of [todo.filter(({ after }) => !after), todo.filter(({ after }) => after)])
    await Promise.all(Array.from({ length: parallel }, () => lane(some)));
  progress.stop();
  return { done: ended - failed.length, failed };
}

async function buildCaches({ out, caches }: SweepPlan, io: Io): Promise<void> {
  await ensureFolder(join(out, "caches"));
  for (const [name, { verb, config }] of caches) {
    if (io.signal.aborted) return;
    io.note(`sweep: cache ${name}`);
    let made: Readonly<Record<string, unknown>> = {};
    const result: Io["result"] = (record, text) => {
      made = record as typeof made;
      io.note(text);
    };
    // One that is complete says so; one that was stopped goes on.
    await verb.run(config as never, { ...io, result });
    const { secondsPerSample, prompts } = made;
    if (secondsPerSample !== undefined)
      await writeFileAtomic(
        costFile(join(out, "caches", `${name}.jsonl`)),
        `${JSON.stringify({ secondsPerSample, prompts })}\n`,
      );
  }
}

/** Whether a run and its evaluations are there: evaluation.json is the last file that a run writes. */
async function isDone({ folder, evaluations }: PlannedRun): Promise<boolean> {
  const files = [
    join(folder, "evaluation.json"),
    ...[...evaluations].map(([name]) => evaluationFile(folder, name)),
  ];
  return (await Promise.all(files.map(exists))).every(Boolean);
}

const evaluationFile = (folder: string, name: string): string => join(folder, "evaluations", `${name}.json`);

/** @returns what went wrong */
async function attempt(run: PlannedRun, io: Io, show: (doing: string) => void): Promise<string | undefined> {
  const { folder, steps, after = [], evaluations } = run;
  const [log, wrong] = [join(folder, "log.txt"), join(folder, "error.txt")];
  await ensureFolder(join(folder, "evaluations"));
  try {
    for (const { point, ...seed } of after)
      if (!(await exists(join(seed.folder, "evaluation.json"))))
        throw new ConfigError(`${point.id} is not there, of which it takes the model`);
    for (const step of steps) {
      if (io.signal.aborted) return undefined;
      if (await exists(step.made)) continue;
      if (step.clears !== undefined) await removeFolder(step.clears);
      const result = (await runTask(step, io, log, show)).at(-1);
      if (result?.["seconds"])
        await writeFileAtomic(join(folder, "result.json"), `${JSON.stringify(result, null, 2)}\n`);
    }
    for (const [name, evaluation] of evaluations) {
      if (io.signal.aborted) return undefined;
      if (!(await exists(evaluationFile(folder, name)))) await runTask(evaluation, io, log, show);
    }
    await removeFile(wrong);
    return undefined;
  } catch (error) {
    const stack = error instanceof Error && !(error instanceof UserError) ? `\n${error.stack ?? ""}` : "";
    await writeFileAtomic(wrong, `${messageOf(error)}${stack}\n`);
    return messageOf(error);
  }
}
