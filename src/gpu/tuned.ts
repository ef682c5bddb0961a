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

export const SHIPPED: TuneFile = {
  version: 1,
  adapters: {
    // 25 November 2026, `vbon tune --rounds 7`, 30 classes; in the others nothing was 3 % better than the op's own choice,
    // which since takes 512 rows itself.
    "mesa, software, llvmpipe-llvm-15-0-6-256-bits-, llvmpipe: Mesa 25.0.7-2~bpo12+1 (LLVM 15.0.6) 0.0.1, 8 lanes, AMD EPYC":
      {
        matmul: {
          "nn N2048 K512": { form: "broadcast", KC: 128, rows: 512, turn: 0 },
          "nn N128 K512": { form: "broadcast", KC: 128, rows: 512, turn: 0 },
          "nt N512 K128": { form: "broadcast", KC: 128, rows: 512, turn: 0 },
          "tn N512 K128": { form: "broadcast", KC: 128, rows: 512, turn: 1 },
          "tn N128 K128": { form: "broadcast", KC: 128, rows: 512, turn: 1 },
        },
      },
  },
};
