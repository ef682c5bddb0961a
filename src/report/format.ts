/** Numbers as the page, the console and the model card print them: one place, so that they always agree. */

/** What stands where nothing was measured. */
export const MISSING = "\u2013";

const INTEGER = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `value` with `digits` decimals and a real minus sign; a dash where it is missing, a word where it is not finite. */
export function fixed(value: number | undefined, digits = 3): string {
  if (value === undefined || Number.isNaN(value)) return MISSING;
  if (!Number.isFinite(value)) return value > 0 ? "\u221E" : "\u2212\u221E";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `\u2212${text}` : text;
}

/** A share in [0, 1] as a percentage with `digits` decimals. */
export function percent(share: number | undefined, digits = 1): string {
  return share === undefined || !Number.isFinite(share) ? MISSING : `${fixed(share * 100, digits)}\u00A0%`;
}

/** A setting as it was given: integers of five digits and more with thousands separators, other numbers in full. */
export function plain(value: string | number | boolean): string {
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) && Math.abs(value) >= 10_000 ? INTEGER.format(value) : String(value);
}

/** Seconds as `12.3 s`, `4 min 05 s` or `2 h 07 min`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return MISSING;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (n: number): string => String(n).padStart(2, "0");
  return hours > 0 ? `${hours} h ${two(minutes)} min` : `${minutes} min ${two(whole % 60)} s`;
}

/** `0.831 to 0.844`: an interval with `digits` decimals; a dash where there is none. */
export function interval(bounds: readonly [number, number] | undefined, digits = 3): string {
  return bounds === undefined ? MISSING : `${fixed(bounds[0], digits)} to ${fixed(bounds[1], digits)}`;
}
