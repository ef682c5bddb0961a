/** Learning-rate schedules: the factor of each step, as pure functions of the step's 0-based index. */
import { ConfigError } from "../errors.ts";

/** How the rate changes after the warm-up. */
export type ScheduleKind = "constant" | "linear" | "cosine";

/** A schedule's settings. */
export interface ScheduleOptions {
  readonly kind: ScheduleKind;
  /** Steps of linear rise from 0; the first step of a warm-up has rate 0, as in Hugging Face. */
  readonly warmup?: number;
  /** Steps of the whole run, warm-up included; `linear` and `cosine` reach their end there. */
  readonly total: number;
  /** The factor at the end of `linear` and `cosine`. */
  readonly end?: number;
}

/**
 * factor(step), to be multiplied with the peak rate. With w = warmup, T = total, p = (step - w) / (T - w):
 * step / w during the warm-up; then 1 (constant), 1 - p (linear), (1 + cos πp) / 2 (cosine; Loshchilov & Hutter
 * 2017, eq. 5), scaled to stop at `end`. The same numbers as Hugging Face's get_*_schedule_with_warmup.
 * @throws ConfigError when warm-up and total do not fit
 */
export function schedule(options: ScheduleOptions): (step: number) => number {
  const { kind, warmup = 0, total, end = 0 } = options;
  if (!(warmup >= 0 && total >= warmup && end >= 0 && end <= 1)) {
    throw new ConfigError(
      `schedule: expected 0 <= warmup <= total and 0 <= end <= 1; got warmup ${warmup}, total ${total}, end ${end}`,
    );
  }
  return (step) => {
    if (step < warmup) return step / Math.max(1, warmup);
    if (kind === "constant") return 1;
    const p = Math.min(1, (step - warmup) / Math.max(1, total - warmup));
    const shape = kind === "linear" ? 1 - p : (1 + Math.cos(Math.PI * p)) / 2;
    return end + (1 - end) * shape;
  };
}
