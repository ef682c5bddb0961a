/** Every op, for the conformance test and the benches. */
import type { AnyOp } from "../tensor/op.ts";
import { attentionOp } from "./attention.ts";
import { affine, binary } from "./binary.ts";
import { castOp } from "./cast.ts";
import { embed } from "./embedding.ts";
import { gather } from "./gather.ts";
import { headCompare, headLogprobs } from "./head.ts";
import { cachedAttention } from "./kv-cache.ts";
import { concatOf, part, permute, repeat } from "./layout.ts";
import { matmul } from "./matmul.ts";
import { fullKl, tokenLogprobs, weightedNll } from "./logprob.ts";
import { mlp } from "./mlp.ts";
import { norm } from "./norm.ts";
import { reduce } from "./reduce.ts";
import { residualMatmul } from "./residual.ts";
import { rope } from "./rope.ts";
import { choose, clamp } from "./select.ts";
import { softmaxOp } from "./softmax.ts";
import { packedSwiglu } from "./swiglu.ts";
import { unary } from "./unary.ts";

export const ops: readonly AnyOp[] = [
  unary,
  matmul,
  residualMatmul,
  mlp,
  attentionOp,
  cachedAttention,
  binary,
  affine,
  castOp,
  reduce,
  permute,
  part,
  concatOf(1),
  concatOf(3),
  repeat,
  clamp,
  choose,
  gather,
  embed,
  norm,
  softmaxOp,
  tokenLogprobs,
  weightedNll,
  fullKl,
  headLogprobs,
  headCompare,
  rope,
  packedSwiglu,
];
