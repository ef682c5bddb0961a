/** Attention for software adapters, which keep a lane's arrays in their first-level cache: rows of the other side are broadcast. */
import { loadKernel } from "../gpu/kernel.ts";
import { type AttentionEntry, type AttentionForm, attentionKernel } from "./attention-form.ts";

/** Rows of the other side that are broadcast together: what they need of a dimension has to fit the registers. */
const keysFor = (D: number): number => (D <= 8 ? 4 : D <= 32 ? 2 : 1);

/** Rows a lane owns: they share the loads of the other side, where there are as many; the way back to keys keeps twice as much of each. */
function rowsFor(
  entry: AttentionEntry,
  { T, D }: { readonly T: number; readonly D: number },
  L: number,
): number {
  const most = D > 64 ? 1 : entry === "keys" ? 2 : 4;
  return Math.min(most, Math.ceil(T / L));
}

/** Wants subgroups. */
export const broadcast: AttentionForm = {
  name: "broadcast",
  kernel: attentionKernel(await loadKernel("attention-broadcast")),
  madeFor: "software",
  runs: ({ subgroupSize }) => subgroupSize > 0,
  fits: () => true,
  launch(entry, size, { subgroupSize: L }) {
    const KEYS = Math.min(L, keysFor(size.D));
    const ROWS = rowsFor(entry, size, L);
    return { rows: L * ROWS, constants: { L, KEYS, ROWS, LOADS: Math.ceil((KEYS * size.D) / 4 / L) } };
  },
};
