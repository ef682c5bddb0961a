/** An op from a user's own file: a module that exports `op`, made by `defineOp`, and `bench`, what to time. */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { ConfigError, messageOf } from "../errors.ts";
import type { AnyOp } from "../tensor/op.ts";
import type { Plan } from "./job.ts";
import { opPlan } from "./jobs/op.ts";

const Shape = z.array(z.number().int().positive());

const Bench = z.array(
  z.strictObject({
    name: z.string(),
    inputs: z.array(Shape.optional()),
    attrs: z.record(z.string(), z.unknown()).default({}),
    flops: z.number().nonnegative().optional(),
    bytes: z.number().nonnegative().optional(),
    backward: z.boolean().default(false),
  }),
);

/** What such a file holds. */
export interface UserKernel {
  readonly op: AnyOp;
  readonly plans: readonly Plan[];
}

/** @throws ConfigError when the file cannot be loaded, or does not export these */
export async function loadUserKernel(path: string): Promise<UserKernel> {
  let module: Record<string, unknown>;
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
  } catch (error) {
    throw new ConfigError(
      `${path}: expected a module that exports op; loading it failed: ${messageOf(error)}`,
    );
  }
  const { op, bench = [] } = module;
  if (!isOp(op)) {
    const names = Object.keys(module).join(", ") || "nothing";
    throw new ConfigError(
      `${path}: expected an export \`op\` made by defineOp, with reference and cases; it exports ${names} (see examples/my-kernel.mjs)`,
    );
  }
  const checked = Bench.safeParse(bench);
  if (!checked.success)
    throw new ConfigError(`${path}: bench: ${z.prettifyError(checked.error).replaceAll("\n", " ")}`);
  const plans = checked.data.map(({ name, inputs, attrs, flops = 0, bytes = 0, backward }) =>
    opPlan({ name, op, given: inputs, attrs, cost: { flops, bytes }, learns: backward }),
  );
  return { op, plans };
}

function isOp(value: unknown): value is AnyOp {
  if (typeof value !== "function") return false;
  const { reference, cases, forward } = value as Partial<AnyOp>;
  return typeof reference === "function" && typeof forward === "function" && Array.isArray(cases);
}
