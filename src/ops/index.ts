/** Every op, for the conformance test and the benches. */
import type { AnyOp } from "../tensor/op.ts";
import { attention } from "./attention.ts";
import { matmul } from "./matmul.ts";
import { unary } from "./unary.ts";

export const ops: readonly AnyOp[] = [unary, matmul, attention];
