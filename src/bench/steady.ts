/** Whether a long run stays as it began: no object of the GPU more, no memory more, no token a second less. */
import type { Device } from "../gpu/device.ts";
import { memoryUsed } from "../host.ts";
import { STORIES } from "./models.ts";
import { type Timing, timePortion } from "./time.ts";
import { createTrainer, type StepShape } from "./trainer.ts";

/** How long, and how large. */
export interface SteadyRun {
  readonly steps: number;
  /** Steps at the beginning that are compared with as many at the end. */
  readonly block: number;
  readonly shape: StepShape;
}

/** What `vbon bench steady` runs. */
export const STEADY_RUN: SteadyRun = {
  steps: 1000,
  block: 100,
  shape: { name: "stories260K", sizes: STORIES, B: 64, T: 56 },
};

/** How a run began and how it ended. */
export interface Steady {
  readonly steps: number;
  readonly block: number;
  readonly tokensPerSecond: { readonly first: number; readonly last: number };
  /** Of the same blocks, by processor time of two cores; software adapters only. */
  readonly perTwoCores?: { readonly first: number; readonly last: number };
  /** What the last step left more of than the first block did, by its name in the device's counters. */
  readonly grown: readonly string[];
  /** Bytes of the process after the first block and at the end. */
  readonly rss: { readonly first: number; readonly last: number };
  readonly problems: readonly string[];
}

/** A run may lose this share of its tokens a second, and its process grow by so many bytes, before it is told. */
const SLOWER = 0.1;
const LARGER = 48 * 2 ** 20;

/** Trains for `steps` steps, the loss read every tenth. */
export async function measureSteady(
  device: Device,
  { steps, block, shape }: SteadyRun,
  onBlock: (stepsDone: number) => void = () => {},
): Promise<Steady> {
  const trainer = await createTrainer(device, shape);
  const some = (): Promise<Timing> =>
    timePortion(device, async () => {
      for (let i = 1; i <= block; i++) {
        trainer.step();
        if (i % 10 === 0) await trainer.loss();
      }
    });
  trainer.step();
  await trainer.loss();
  const first = await some();
  onBlock(block);
  const before = { counts: countsOf(device), rss: memoryUsed() };
  let last = first;
  for (let done = block; done < steps; done += block) {
    last = await some();
    onBlock(done + block);
  }
  const rss = { first: before.rss, last: memoryUsed() };
  const after = countsOf(device);
  trainer.dispose();
  const grown = Object.keys(after).filter((key) => after[key]! > before.counts[key]!);
  const tokens = shape.B * shape.T * block;
  const rate = (key: keyof Timing, cores: number): Steady["tokensPerSecond"] => ({
    first: (1000 * cores * tokens) / first[key],
    last: (1000 * cores * tokens) / last[key],
  });
  const [tokensPerSecond, perTwoCores] = [rate("wall", 1), device.software ? rate("cpu", 2) : undefined];
  const problems = problemsOf(perTwoCores ?? tokensPerSecond, grown, rss);
  return { steps, block, tokensPerSecond, ...(perTwoCores && { perTwoCores }), grown, rss, problems };
}

/** What must not grow; submits and dispatches do. */
function countsOf({ counters, bytesAllocated }: Device): Record<string, number> {
  const { buffers, bindGroups, pipelines, tensors } = counters;
  return { buffers, bindGroups, pipelines, tensors, bytesAllocated };
}

function problemsOf(rate: Steady["tokensPerSecond"], grown: readonly string[], rss: Steady["rss"]): string[] {
  const loss = 1 - rate.last / rate.first;
  return [
    ...(loss > SLOWER ? [`the last steps are ${(100 * loss).toFixed(0)} % slower than the first`] : []),
    ...(grown.length > 0 ? [`these grew: ${grown.join(", ")}`] : []),
    ...(rss.last - rss.first > LARGER ? [`the process grew by ${mib(rss.last - rss.first)}`] : []),
  ];
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

/** One line for people. */
export function steadyText({ steps, tokensPerSecond, perTwoCores, rss, problems }: Steady): string {
  const both = ({ first, last }: Steady["tokensPerSecond"]): string =>
    `${first.toFixed(0)} tokens/s at first, ${last.toFixed(0)} at last`;
  const cores = perTwoCores ? ` (by two cores' time: ${both(perTwoCores)})` : "";
  const verdict = problems.length === 0 ? "steady" : problems.join("; ");
  return `steady, ${steps} training steps: ${both(tokensPerSecond)}${cores}; memory ${mib(rss.first)}, then ${mib(rss.last)}: ${verdict}`;
}
