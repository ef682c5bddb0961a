/** Rotary positions in a `config.json`: their base, and in which of two spellings. */
import type { HfConfig } from "./hf-config.ts";

/** How a model turns its queries and keys. */
export interface Rotary {
  readonly theta: number;
}

/** The rotary base, from the older spelling (`thetaKey`) or from `rope_parameters`; scaled forms are refused. */
export function rotaryOf(hf: HfConfig, thetaKey = "rope_theta"): Rotary {
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const scaling = hf.object(key);
    const type = scaling?.text("rope_type", scaling.text("type", "default")) ?? "default";
    if (type !== "default")
      hf.refuse(`${key} asks for "${type}" scaling of rotary positions; only "default" is supported`);
  }
  const theta = hf.positive(thetaKey, hf.positive("rope_theta", 10000));
  return { theta: hf.object("rope_parameters")?.positive("rope_theta", theta) ?? theta };
}
