/** Causal attention, forward alone and with its way back. */
import { attentionOp } from "../../ops/attention.ts";
import type { Plan } from "../job.ts";
import { opPlan } from "./op.ts";

function plansOf(B: number, T: number, H: number, D: number): Plan[] {
  const range = { ids: Uint32Array.from({ length: 2 * B }, (_, i) => (i % 2) * T), shape: [B, 2] };
  const forward = 2 * B * H * T * T * D; // causal: half of 4 B H T T D
  const task = {
    name: `attention B${B} T${T} H${H} D${D}`,
    op: attentionOp,
    given: [[B, T, 3 * H, D], range],
    attrs: { causal: true, kvHeads: H },
  };
  return [
    opPlan({ ...task, cost: { flops: forward }, learns: false }),
    // Seven products of the size of the forward pass's two: scores again twice, dp twice, dq, dk and dv.
    opPlan({ ...task, cost: { flops: 4.5 * forward }, learns: true }),
  ];
}

/** The heads of small GPTs, and longer ones. */
export const attentionPlans: readonly Plan[] = [...plansOf(32, 64, 4, 32), ...plansOf(8, 256, 6, 64)];
