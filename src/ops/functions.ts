/** The ops by the names that models and users call them; `index.ts` lists what the conformance test runs. */
export { attention } from "./attention.ts";
export { add, addScalar, div, maximum, minimum, mul, scale, sub } from "./binary.ts";
export { cast } from "./cast.ts";
export { embedding } from "./embedding.ts";
export { takeRows } from "./gather.ts";
export { broadcastTo, concat, slice, transpose } from "./layout.ts";
export { crossEntropy, fullKl, tokenLogprobs } from "./logprob.ts";
export { matmul } from "./matmul.ts";
export { layerNorm, rmsNorm } from "./norm.ts";
export { max, mean, min, sum } from "./reduce.ts";
export { rope } from "./rope.ts";
export { clip, where } from "./select.ts";
export { logSoftmax, softmax } from "./softmax.ts";
export { swiglu } from "./swiglu.ts";
export { exp, gelu, log, logSigmoid, neg, relu, sigmoid, silu, sqrt, square, tanh } from "./unary.ts";
