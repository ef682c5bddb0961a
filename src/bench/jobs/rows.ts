/** What works row by row: memory is the limit. Forward reads x and writes y; backward reads x and dy and writes dx. */
import { headLogprobs } from "../../ops/head.ts";
import { tokenLogprobs } from "../../ops/logprob.ts";
import { norm } from "../../ops/norm.ts";
import { softmaxOp } from "../../ops/softmax.ts";
import type { Plan } from "../job.ts";
import { type Given, opPlan } from "./op.ts";

const SHAPES = [
  [2048, 128],
  [2048, 512],
  [256, 8192],
] as const;

/** Layer norm, and softmax beside it. */
export const normPlans: readonly Plan[] = SHAPES.flatMap(([R, C]) => {
  const layer: Given = [[R, C], [C], [C]];
  const task = { name: `layerNorm ${R}x${C}`, op: norm, given: layer, attrs: { eps: 1e-5, kind: "layer" } };
  const n = 4 * R * C;
  return [
    opPlan({ ...task, cost: { bytes: 2 * n }, learns: false }),
    opPlan({ ...task, cost: { bytes: 5 * n }, learns: true }),
    opPlan({
      name: `softmax ${R}x${C}`,
      op: softmaxOp,
      given: [[R, C]],
      attrs: { logarithm: false },
      cost: { bytes: 2 * n },
      learns: false,
    }),
  ];
});

/** Log-probabilities of given tokens from logits. */
const logprobPlans: readonly Plan[] = SHAPES.slice(1).flatMap(([R, C]) => {
  const targets = { ids: Uint32Array.from({ length: R }, (_, r) => (r * 31) % C), shape: [R] };
  const task = { name: `tokenLogprobs ${R}x${C}`, op: tokenLogprobs, given: [[R, C], targets], attrs: {} };
  const n = 4 * R * C;
  return [
    opPlan({ ...task, cost: { bytes: n }, learns: false }),
    opPlan({ ...task, cost: { bytes: 3 * n }, learns: true }),
  ];
});

/** [R, C] hidden states and V tokens: a step of stories260K, and a vocabulary in several chunks. */
const HEADS = [
  [3584, 64, 512],
  [256, 64, 16384],
] as const;

/** The same from hidden states, with the product that makes logits; beside it the part that reads them. */
export const headPlans: readonly Plan[] = [
  ...HEADS.flatMap(([R, C, V]) => {
    const targets = { ids: Uint32Array.from({ length: R }, (_, r) => (r * 31) % V), shape: [R] };
    const given: Given = [[R, C], [V, C], undefined, targets];
    const task = { name: `headLogprobs ${R}x${V}x${C}`, op: headLogprobs, given, attrs: {} };
    const flops = 2 * R * V * C;
    return [
      opPlan({ ...task, cost: { flops }, learns: false }),
      opPlan({ ...task, cost: { flops: 3 * flops }, learns: true }),
    ];
  }),
  ...logprobPlans,
];
