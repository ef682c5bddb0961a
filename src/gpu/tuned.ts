/** Tables of tunings, and those that ship: written by `vbon tune --out` on machines we have measured (docs/performance.md). */

/** A variant and its tunables, by name. An op reads those it knows. */
export type Tuning = Readonly<Record<string, number | string>>;

/** Op, then class of shapes. */
export type TuneTable = Readonly<Record<string, Readonly<Record<string, Tuning>>>>;

/** Tables by adapter, as `tune.json` holds them. */
export interface TuneFile {
  readonly version: 1;
  readonly adapters: Readonly<Record<string, TuneTable>>;
}

export const SHIPPED: TuneFile = { version: 1, adapters: {} };
