/** Rounds: ours and every peer take turns, so that each ratio compares the same minute of the machine. */
import type { Item } from "./items.ts";
import { type Part, Skip, startWorker, type Worker } from "./protocol.ts";
import type { Contender, Setup } from "./roster.ts";
import type { Sample, Series } from "./table.ts";

/** How to measure. */
export interface RoundOptions {
  readonly rounds: number;
  /** Least time of a round of one contender. */
  readonly seconds: number;
  /** Told what happens; for people. */
  readonly say: (line: string) => void;
}

/** All that was seen of one item. */
export interface Outcome {
  readonly item: Item;
  readonly ours: Series | undefined;
  readonly peers: readonly Series[];
  readonly skipped: readonly { readonly name: string; readonly why: string }[];
}

interface Running {
  readonly name: string;
  readonly setup: string;
  readonly worker: Worker;
  readonly samples: Sample[];
}

/** Starts every contender, then lets them take turns; one that fails leaves a line in `skipped` and the others go on. */
export async function compare(
  item: Item,
  ours: Contender,
  peers: readonly Contender[],
  options: RoundOptions,
): Promise<Outcome> {
  const skipped: { name: string; why: string }[] = [];
  const start = async (contender: Contender): Promise<Running[]> => {
    try {
      return [await fastest(item, contender, options)];
    } catch (error) {
      skip(skipped, contender.name, error, options);
      return [];
    }
  };
  // Machines with a GPU have cores and memory for all of them at once, and compiling takes minutes.
  const running: Running[] = [];
  if (item.on === "gpu") running.push(...(await Promise.all([ours, ...peers].map(start))).flat());
  else for (const contender of [ours, ...peers]) running.push(...(await start(contender)));
  for (let round = 0; round < options.rounds; round++) {
    for (const one of running.slice()) {
      try {
        one.samples.push(sampleOf(await one.worker.round(), round));
      } catch (error) {
        running.splice(running.indexOf(one), 1);
        skip(skipped, one.name, error, options);
      }
    }
    options.say(`${item.id}: round ${round + 1} of ${options.rounds}`);
  }
  for (const { worker } of running) worker.close();
  const series = running.map(({ name, setup, samples }): Series => ({ name, setup, samples }));
  return {
    item,
    ours: series.find(({ name }) => name === ours.name),
    peers: series.filter(({ name }) => name !== ours.name),
    skipped,
  };
}

function skip(
  skipped: { name: string; why: string }[],
  name: string,
  error: unknown,
  { say }: RoundOptions,
): void {
  const why = error instanceof Skip ? error.message : String(error);
  skipped.push({ name, why });
  say(`${name}: skipped: ${why}`);
}

/** Of a contender's setups the fastest in two short turns each; the others are closed. */
async function fastest(item: Item, { name, setups }: Contender, options: RoundOptions): Promise<Running> {
  const started: { setup: Setup; worker: Worker; best: number }[] = [];
  const failures: unknown[] = [];
  for (const setup of setups) {
    const task = { work: item.work, setting: setup.setting, seconds: options.seconds };
    const shown = setup.label ? `${name}, ${setup.label}` : name;
    options.say(`${item.id}: ${shown} prepares`);
    try {
      const worker = await startWorker(setup.launch, task);
      options.say(`${item.id}: ${shown}: ${worker.check}`);
      started.push({ setup, worker, best: 0 });
    } catch (error) {
      failures.push(error);
    }
  }
  if (started.length === 0) throw failures[0];
  for (let turn = 0; turn < 2 && started.length > 1; turn++) {
    for (const one of started) one.best = Math.max(one.best, sampleOf(await one.worker.round(), 0).rate);
  }
  started.sort((a, b) => b.best - a.best);
  const [winner, ...others] = started;
  for (const { worker } of others) worker.close();
  return { name, setup: winner!.setup.label, worker: winner!.worker, samples: [] };
}

/** A round as numbers: the mean over its parts of what was done a second, and a second of processor time. */
export function sampleOf(parts: readonly Part[], round: number): Sample {
  const mean = (rate: (part: Part) => number): number =>
    parts.reduce((sum, part) => sum + rate(part), 0) / parts.length;
  return {
    round,
    rate: mean(({ units, seconds }) => units / seconds),
    cpuRate: mean(({ units, cpu }) => units / cpu),
    parts: Object.fromEntries(parts.map(({ name, units, seconds }) => [name, units / seconds])),
  };
}
