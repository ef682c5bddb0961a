/** The worker's side of protocol.ts in JavaScript: ours, and the model for the peers' own. */
import { createInterface } from "node:readline";
import type { Part, Task } from "./protocol.ts";

/** Something to be timed. */
export interface Job {
  readonly name: string;
  /** Units of work of one call. */
  readonly units: number;
  /** Starts `times` calls in a row and waits until they are done. */
  run(times: number): Promise<void>;
}

/** Jobs that were checked, and what the check saw. */
export interface Prepared {
  readonly jobs: readonly Job[];
  readonly check: string;
}

/**
 * The error of a job of `vbon bench`.
 * @throws Error when it is above the job's tolerance
 */
export async function checked(
  name: string,
  { check, tolerance }: { check(): Promise<number>; readonly tolerance: number },
): Promise<number> {
  const error = await check();
  if (error <= tolerance) return error;
  throw new Error(`${name}: relative error ${error}; expected at most ${tolerance}`);
}

const answer = (record: object): void => console.log(`@${JSON.stringify(record)}`);

/** Prepares, warms up, answers rounds until stdin ends. */
export async function serve(prepare: (task: Task) => Promise<Prepared>): Promise<void> {
  const task = JSON.parse(process.argv.at(-1)!) as Task;
  let prepared: Prepared;
  try {
    prepared = await prepare(task);
    for (const job of prepared.jobs) await measure(job, task.seconds / prepared.jobs.length / 4);
  } catch (error) {
    answer({ error: String(error) });
    return;
  }
  answer({ ready: true, check: prepared.check });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() !== "go") continue;
    const parts: Part[] = [];
    for (const job of prepared.jobs) parts.push(await measure(job, task.seconds / prepared.jobs.length));
    answer({ parts });
  }
}

/** Calls for at least `seconds`, in portions long enough that waiting costs little. */
async function measure({ name, units, run }: Job, seconds: number): Promise<Part> {
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  for (let calls = 0, portion = 1; ;) {
    await run(portion);
    calls += portion;
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed >= seconds) {
      const { user, system } = process.cpuUsage(cpu);
      return { name, units: units * calls, seconds: elapsed, cpu: (user + system) / 1e6 };
    }
    portion = Math.max(1, Math.min(portion * 2, Math.round((calls / elapsed) * (seconds - elapsed))));
  }
}
