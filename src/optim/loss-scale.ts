/**
 * Dynamic loss scaling: the gradient of a loss starts at a large power of two, so that small gradients are not lost to f16's
 * range, and steps whose gradients overflow are skipped. The scale lives on the GPU; no step waits for the host.
 */
import { ConfigError } from "../errors.ts";
import type { Device } from "../gpu/device.ts";
import { persistent, type Tensor } from "../tensor/tensor.ts";

/** How the scale begins and grows; it halves at each overflow. */
export interface LossScaleOptions {
  /** A power of two from 1 to 2^126; 65536 by default. */
  readonly initial?: number;
  /** Steps in a row without overflow after which the scale doubles; 2000 by default, as in PyTorch's GradScaler. */
  readonly growEvery?: number;
}

/** The scale of one optimizer's gradients. */
export interface LossScale {
  /** [3]: the scale, steps since it last changed, steps skipped so far. A checkpoint stores it. */
  readonly state: Tensor;
  readonly initial: number;
  /** 0 = the scale is 1 for ever, and no step is skipped. */
  readonly growEvery: number;
}

/**
 * A scale that adapts (Micikevicius et al. 2018, "Mixed precision training"). Give it to `backward` and, for the parameters of
 * that loss, to one optimizer, which from then on owns its memory.
 * @throws ConfigError when a setting is out of range
 */
export function createLossScale(
  device: Device,
  { initial = 65536, growEvery = 2000 }: LossScaleOptions = {},
): LossScale {
  if (!(initial >= 1 && initial <= 2 ** 126 && Number.isInteger(Math.log2(initial))))
    throw new ConfigError(`loss scale: initial is ${initial}; expected a power of two from 1 to 2^126`);
  if (!(Number.isInteger(growEvery) && growEvery >= 1 && growEvery < 2 ** 24))
    throw new ConfigError(
      `loss scale: growEvery is ${growEvery}; expected a whole number from 1 to 2^24 - 1`,
    );
  return stateOf(device, initial, growEvery);
}

/** The scale 1, which never changes: an optimizer without scaling. */
export const unitScale = (device: Device): LossScale => stateOf(device, 1, 0);

function stateOf(device: Device, initial: number, growEvery: number): LossScale {
  const state = persistent(device, [3], "f32", "loss scale");
  state.write([initial, 0, 0]);
  return { state, initial, growEvery };
}

/**
 * The most steps that can have been skipped by the time that `steps` have been taken, while the scale is above 1: one for
 * each doubling that a halving takes back, and those down to 1 and once more.
 */
export const mostSkipped = ({ initial, growEvery }: LossScale, steps: number): number =>
  growEvery === 0 ? 0 : Math.log2(initial) + 1 + Math.floor(steps / growEvery);
