/** Sampling on the GPU: one token a row, by random numbers that belong to the sample and not to its batch. */
import { ConfigError } from "../errors.ts";
import { grid } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { call, need } from "../tensor/op.ts";
import { loadRowKernel, type RowCall, rowCall, rowVariants } from "../tensor/rows.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";
import { drawUniforms, type SamplingState } from "./uniforms.ts";

const kernel = await loadRowKernel("sample");

/** How a token is chosen: the logits are divided by the temperature first, then topK applies, then topP. */
export interface SamplingSettings {
  /** Positive. */
  readonly temperature: number;
  /** Keep the tokens at or above the k-th largest logit, ties with it included; 0 or absent = all. */
  readonly topK?: number;
  /** Of those, keep the smallest set, likeliest first, that has this share of their probability; 1 or absent = all. */
  readonly topP?: number;
  /** Take the largest logit, the lowest id among equals; draws nothing at random, topK and topP do not matter. */
  readonly greedy?: boolean;
}

/** The tokens of one step. */
export interface Drawn {
  /** u32 [B] */
  readonly tokens: Tensor;
  /** [B]: log p(token) at the temperature over the full vocabulary, in nats. */
  readonly logprobs: Tensor;
  /** [B]: log p(token) among the kept tokens alone; 0 when greedy. */
  readonly truncatedLogprobs: Tensor;
}

/**
 * Records the choice of one token a row. A row's token depends on its logits, the settings and (seed, stream,
 * position): neither on the row it stands in nor on the other rows.
 * @param logits [..., V], B rows
 * @param variant one of {@link sampleVariants}, for tests
 * @throws ConfigError on settings out of range; ShapeError when the state does not count the rows
 */
export function sampleTokens(
  logits: Tensor,
  state: SamplingState,
  settings: SamplingSettings,
  variant?: string,
): Drawn {
  const uniforms = settings.greedy ? undefined : drawUniforms(state);
  return chooseTokens(logits, uniforms, settings, variant);
}

/**
 * {@link sampleTokens} with given random numbers: inverse CDF in vocabulary order.
 * @param uniforms [B], each in [0, 1); may be absent when greedy
 * @throws ConfigError, ShapeError as there
 */
export function chooseTokens(
  logits: Tensor,
  uniforms: Tensor | undefined,
  settings: SamplingSettings,
  variant?: string,
): Drawn {
  const { temperature, topK = 0, topP = 1, greedy = false } = check(settings);
  const columns = logits.dim(-1);
  const rows = logits.size / columns;
  need(
    greedy || uniforms?.size === rows,
    `sample: logits [${logits.shape}] have ${rows} rows, got ${uniforms?.size ?? 0} random numbers`,
  );
  const drawn = {
    tokens: empty([rows], "u32", "tokens"),
    logprobs: empty([rows], "f32", "logprobs"),
    truncatedLogprobs: empty([rows], "f32", "truncated logprobs"),
  };
  const shared = shareOut(logits.device, rows, columns, variant);
  const outputs = { tokens: drawn.tokens, logprobs: drawn.logprobs, truncated: drawn.truncatedLogprobs };
  const bindings = {
    logits,
    flat: logits,
    ...outputs,
    ...(greedy || !uniforms ? {} : { uniform_draws: uniforms }),
  };
  call(kernel, greedy ? "greedy" : "draw", {
    bindings,
    params: {
      ...shared.params,
      columns,
      passes: 16,
      top_k: Math.min(topK, columns),
      top_p: topP,
      inverse_temperature: 1 / temperature,
    },
    constants: {
      ...shared.constants,
      ...(greedy ? {} : { TOP_K: topK > 0 && topK < columns ? 1 : 0, TOP_P: topP < 1 ? 1 : 0 }),
    },
    workgroups: shared.workgroups,
    flops: 6 * logits.size,
  });
  return drawn;
}

/** The ways to share a row of logits out on this device. */
export const sampleVariants = (device: Device): readonly string[] => [...rowVariants(device), "teams"];

/** A GPU gives a row of so many logits a workgroup: a subgroup would walk over it alone, while others idle. */
const LONG = 2048;
const TEAMS = 32;

/** A subgroup or a thread a row, or as many of those as make a workgroup: by the device and V alone. */
function shareOut(device: Device, rows: number, columns: number, variant: string | undefined): RowCall {
  const teamed = variant === "teams" || (variant === undefined && !device.software && columns >= LONG);
  const { constants, params, workgroups } = rowCall(device, rows, columns, teamed ? undefined : variant);
  const lanes = Number(constants["L"]);
  const teams = teamed
    ? Math.min(TEAMS, Math.floor(device.limits.maxComputeInvocationsPerWorkgroup / lanes))
    : 1;
  return {
    constants: {
      ...constants,
      TEAMED: teamed ? 1 : 0,
      TEAMS: teams,
      ...(teamed && { THREADS: teams * lanes }),
    },
    params: { ...params, trips: Math.ceil(params.width / (lanes * teams)) },
    workgroups: teamed ? grid(rows) : workgroups,
  };
}

function check(settings: SamplingSettings): SamplingSettings {
  const { temperature, topK = 0, topP = 1 } = settings;
  if (!(temperature > 0 && temperature < Infinity)) {
    throw new ConfigError(
      `sample: temperature is ${temperature}; expected a positive number (for temperature 0 set greedy)`,
    );
  }
  if (!Number.isInteger(topK) || topK < 0)
    throw new ConfigError(`sample: topK is ${topK}; expected a whole number, 0 for no limit`);
  if (!(topP > 0 && topP <= 1)) throw new ConfigError(`sample: topP is ${topP}; expected 0 < topP <= 1`);
  return settings;
}
