/** What a command shows and writes while a model trains. */
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { LoopEvents } from "../../train/loop.ts";
import type { StepRecord } from "../../train/metrics.ts";
import type { RunFolder } from "../../train/run-folder.ts";
import type { Io } from "../verb.ts";

/** A run to watch. */
export interface Watched {
  readonly label: string;
  /** What it learns from: "tokens", "texts". */
  readonly unit: string;
  readonly folder: RunFolder;
  readonly steps: number;
  /** The first step. */
  readonly first: number;
  /** What the checkpoint carries beside the step. */
  state(): Readonly<Record<string, unknown>>;
}

/** Events for the training loop. */
export interface Watch extends LoopEvents {
  /** The last loss, and the last evaluation. */
  readonly results: Readonly<Record<string, number>>;
  /** Ends the progress display. */
  stop(): void;
}

/** Shows progress, writes metrics.jsonl and checkpoints, listens to Ctrl-C. */
export function watchTraining(io: Io, { label, unit, folder, steps, first, state }: Watched): Watch {
  const progress = io.progress({ label, total: steps, unit: "steps", start: first });
  const results: Record<string, number> = {};
  return {
    signal: io.signal,
    results,
    stop: () => progress.stop(),
    async onRecord(record) {
      await folder.metrics.write(record);
      if (!("lr" in record)) io.note(evaluationText(record));
      else if (!("gradNorm" in record)) io.note(skipText(record));
      else results["loss"] = record["loss"] as number;
      progress.update(record.step, shown(record, unit));
    },
    onEval: (_step, found) => {
      Object.assign(results, found);
      return Promise.resolve(false);
    },
    save: (step) => folder.save({ step, ...state() }),
  };
}

function shown(record: StepRecord, unit: string): string | undefined {
  if (!("loss" in record)) return undefined;
  return `loss ${(record["loss"] as number).toFixed(3)}, ${record["tokensPerSecond"]} ${unit}/s`;
}

/** A step without a gradient norm is one whose gradients overflowed. */
const skipText = ({ step, lossScale }: StepRecord): string =>
  `step ${step}: gradients overflowed at loss scale ${lossScale}; skipped, and the scale halved`;

function evaluationText({ step, ...results }: StepRecord): string {
  const parts = Object.entries(results).map(
    ([name, value]) => `${name} ${typeof value === "number" ? value.toFixed(4) : value}`,
  );
  return `step ${step}: ${parts.join(", ")}`;
}

/**
 * A run that resumes must see the data it began with.
 * @throws ConfigError
 */
export function checkSameData({ restored, path }: RunFolder, hash: string): void {
  const before = restored?.["data"];
  if (restored === undefined || before === hash) return;
  throw new ConfigError(
    `${path}: the data have changed since this run began; expected the same file. Start another run with another --out`,
  );
}

/** "1.2 M parameters; … ; 310 MiB on llvmpipe …" */
export function memoryNote(device: Device, parameters: number, what: string): string {
  const count =
    parameters >= 1e6 ? `${(parameters / 1e6).toFixed(1)} M` : `${(parameters / 1e3).toFixed(0)} k`;
  return `${count} parameters; ${what}; ${(device.bytesAllocated / 2 ** 20).toFixed(0)} MiB on ${device.name}`;
}
