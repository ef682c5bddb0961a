/** The flag of models that nothing trains: what their weights are held in. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { ParameterOptions } from "../../nn/parameters.ts";
import { hasHalves } from "../../ops/cast.ts";

/** What frozen weights are held in. */
export type FrozenPrecision = "f32" | "f16";

interface FrozenFields {
  readonly frozenPrecision: z.ZodDefault<z.ZodEnum<{ [K in FrozenPrecision]: K }>>;
}

/** Of commands that hold a reference or a reward. */
export const frozenFields: FrozenFields = {
  frozenPrecision: z.enum(["f32", "f16"]).default("f32").meta({
    description:
      "hold the weights of reference and reward in f16, at half the memory: they are rounded, and are another model than in f32",
  }),
};

/** The parsed values of {@link frozenFields}. */
export interface FrozenFlags {
  readonly frozenPrecision: FrozenPrecision;
}

/**
 * How frozen weights are made on `device`.
 * @throws ConfigError when they are to be f16 and it has none
 */
export function frozenOf({ frozenPrecision }: FrozenFlags, device: Device): ParameterOptions {
  if (frozenPrecision === "f16" && !hasHalves(device)) {
    throw new ConfigError(
      `--frozen-precision f16: expected a device with 16-bit floats (shader-f16), got ${device.name}, which has none; leave the flag out`,
    );
  }
  return { trainable: false, halves: frozenPrecision === "f16" };
}
