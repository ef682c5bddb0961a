/** Rotary positions in a `config.json`: their base and their scaling, in either of two spellings. */
import { f32, type GgufMetadata, u32 } from "../src/data/weights/gguf-values.ts";
import type { HfConfig } from "./hf-config.ts";

/** How a model turns its queries and keys: what `ops/rope` takes. */
export interface Rotary {
  readonly theta: number;
  /** Angle per position of each pair, where it is not a power of theta. */
  readonly inverseFrequencies?: readonly number[];
}

/** Changes the angles per position as a scaling's own fields say. */
type Scaling = (frequencies: readonly number[], fields: HfConfig) => readonly number[];

/** "Linear": positions are divided by `factor` (Chen et al. 2023, arXiv 2306.15595). */
const linear: Scaling = (frequencies, fields) => {
  const factor = fields.positive("factor");
  return frequencies.map((f) => f / factor);
};

/**
 * Llama 3.1's: waves longer than the original context over `low_freq_factor` are stretched by `factor`, those shorter than
 * it over `high_freq_factor` stay, and between the two the frequency is blended
 * (`apply_scaling` in Meta's llama-models; `llama3` in Hugging Face's modeling_rope_utils.py).
 */
const llama3: Scaling = (frequencies, fields) => {
  const factor = fields.positive("factor");
  const [low, high] = [fields.positive("low_freq_factor"), fields.positive("high_freq_factor")];
  const context = fields.count("original_max_position_embeddings");
  if (high <= low) fields.refuse(`high_freq_factor ${high} is not above low_freq_factor ${low}`);
  return frequencies.map((f) => {
    const waves = (context * f) / (2 * Math.PI); // that fit the original context
    const kept = Math.min(1, Math.max(0, (waves - low) / (high - low)));
    return kept * f + ((1 - kept) * f) / factor;
  });
};

const SCALINGS: Readonly<Record<string, Scaling>> = { linear, llama3 };

/**
 * The rotary positions of heads that turn `rotaryDim` dimensions.
 * @param thetaKey the family's older name of the base; `rope_theta` and `rope_parameters` are read too
 * @throws FormatError for a scaling that is not known, naming those that are, or that lacks a field
 */
export function rotaryOf(hf: HfConfig, rotaryDim: number, thetaKey = "rope_theta"): Rotary {
  const older = hf.positive(thetaKey, hf.positive("rope_theta", 10000));
  const theta = hf.object("rope_parameters")?.positive("rope_theta", older) ?? older;
  for (const key of ["rope_parameters", "rope_scaling"]) {
    const fields = hf.object(key);
    const type = fields?.text("rope_type", fields.text("type", "default")) ?? "default";
    if (!fields || type === "default") continue;
    const known = ["default", ...Object.keys(SCALINGS)].join(", ");
    const scaling =
      SCALINGS[type] ??
      hf.refuse(`${key} asks for "${type}" scaling of rotary positions; expected one of ${known}`);
    return { theta, inverseFrequencies: scaling(powers(theta, rotaryDim), fields) };
  }
  return { theta };
}

/** The angles per position without scaling: theta^(-2i / rotaryDim). */
function powers(theta: number, rotaryDim: number): number[] {
  return Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** ((-2 * i) / rotaryDim));
}

/** What llama.cpp wants to know: `factors` divide the angles one by one, where one factor for all will not do. */
export function ggufRotary(
  { theta, inverseFrequencies }: Rotary,
  rotaryDim: number,
): { readonly metadata: GgufMetadata; readonly factors: readonly number[] | undefined } {
  const metadata = { "rope.dimension_count": u32(rotaryDim), "rope.freq_base": f32(theta) };
  const plain = powers(theta, rotaryDim);
  const factors = inverseFrequencies?.map((f, i) => plain[i]! / f);
  const [first] = factors ?? [];
  if (first === undefined || factors!.some((f) => Math.abs(f / first - 1) > 1e-9))
    return { metadata, factors };
  const scaling = { "rope.scaling.type": "linear", "rope.scaling.factor": f32(first) };
  return { metadata: { ...metadata, ...scaling }, factors: undefined };
}
