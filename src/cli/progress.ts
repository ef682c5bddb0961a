/** How far a command is, on stderr: a bar on a terminal, else a line every few seconds. */
import cliProgress from "cli-progress";

/** What is counted. */
export interface ProgressOptions {
  /** What is being done: "sft". */
  readonly label: string;
  readonly total: number;
  /** What the numbers count: "steps". */
  readonly unit: string;
  /** Where a resumed run begins. */
  readonly start?: number;
}

/** A running display. */
export interface Progress {
  /** `done` in all; `note` is shown behind ("loss 2.31"). */
  update(done: number, note?: string): void;
  /** Clears the bar or prints the last line. */
  stop(): void;
}

/** Where progress is written. */
export interface ProgressStream {
  readonly isTTY?: boolean | undefined;
  write(text: string): unknown;
}

/** Milliseconds between two lines where there is no terminal. */
const LINE_EVERY = 5000;

/** Shows progress on `stream`. `now` (milliseconds) is the clock. */
export function createProgress(
  stream: ProgressStream,
  options: ProgressOptions,
  now: () => number = () => performance.now(),
): Progress {
  const began = now();
  const describe = (done: number, note: string): string => progressText(options, done, now() - began, note);
  return stream.isTTY ? bar(stream, options, describe) : lines(stream, describe, now, options.start ?? 0);
}

type Describe = (done: number, note: string) => string;

function bar(
  stream: ProgressStream,
  { label, total, start = 0 }: ProgressOptions,
  describe: Describe,
): Progress {
  const shown = new cliProgress.SingleBar({
    stream: stream as NodeJS.WritableStream,
    format: `${label} [{bar}] {text}`,
    barsize: 24,
    barCompleteChar: "=",
    barIncompleteChar: " ",
    clearOnComplete: true,
    hideCursor: null,
  });
  shown.start(total, start, { text: "" });
  let last = start;
  let lastNote = "";
  return {
    update(done, note = lastNote) {
      last = done;
      lastNote = note;
      shown.update(done, { text: describe(done, note) });
    },
    stop() {
      shown.stop();
      if (last > start) stream.write(`${label}: ${describe(last, lastNote)}\n`);
    },
  };
}

function lines(stream: ProgressStream, describe: Describe, now: () => number, start: number): Progress {
  let written = now();
  let state: { done: number; note: string } | undefined;
  let pending = false;
  const write = (): void => {
    if (state) stream.write(`${describe(state.done, state.note)}\n`);
    written = now();
    pending = false;
  };
  return {
    update(done, note = state?.note ?? "") {
      pending = done > start;
      state = { done, note };
      if (now() - written >= LINE_EVERY) write();
    },
    stop() {
      if (pending) write();
    },
  };
}

/** "120/1000 steps, 3.2 steps/s, 4:35 left, loss 2.31" */
export function progressText(
  { total, unit, start = 0 }: Pick<ProgressOptions, "total" | "unit" | "start">,
  done: number,
  elapsedMs: number,
  note: string,
): string {
  const rate = (done - start) / Math.max(1e-3, elapsedMs / 1000);
  const parts = [`${done}/${total} ${unit}`];
  if (done > start) parts.push(rateText(rate, unit));
  if (done > start && done < total) parts.push(`${clock((total - done) / rate)} left`);
  else if (done > start) parts.push(`in ${clock(elapsedMs / 1000)}`);
  return [...parts, ...(note ? [note] : [])].join(", ");
}

function rateText(rate: number, unit: string): string {
  if (rate >= 1) return `${rate >= 100 ? rate.toFixed(0) : rate.toPrecision(3)} ${unit}/s`;
  return `${(1 / rate).toPrecision(3)} s a ${unit.replace(/s$/, "")}`;
}

/** Seconds as "0:07", "12:30", "3:02:10". */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (n: number): string => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}
