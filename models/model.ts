/** Models from a config: the family's architecture, a head, and parameters. */
import { ShapeError } from "../src/errors.ts";
import type { Device } from "../src/gpu/device.ts";
import { scalarHead, scalarHeadSpecs } from "../src/nn/heads.ts";
import type { ParameterSpec } from "../src/nn/init.ts";
import { languageHead } from "../src/nn/lm-head.ts";
import { COMPUTING, type Computing, type LanguageModel, type ScalarModel, type Trunk } from "../src/nn/lm.ts";
import { needHalves } from "../src/ops/cast.ts";
import { createParameters, type ParameterOptions, type Parameters } from "../src/nn/parameters.ts";
import type { Architecture } from "./family.ts";
import { hfConfig } from "./hf-config.ts";
import { modelFamily, type ModelKind } from "./index.ts";

type Json = Readonly<Record<string, unknown>>;

/** The name of the scalar head in Hugging Face's classifiers. */
export const SCALAR_HEAD = "score";

/** All about a model except its weights. */
export interface Blueprint {
  readonly architecture: Architecture;
  readonly kind: ModelKind;
  /** Trunk and head. */
  readonly specs: readonly ParameterSpec[];
  /** The `config.json` of a model built from it. */
  toHf(): Json;
}

/**
 * Reads a `config.json` for a model with the head that is wanted.
 * @throws FormatError when the config is not usable
 */
export function blueprint(json: Json, kind: ModelKind, where = "config.json"): Blueprint {
  const family = modelFamily(json, where);
  const architecture = family.fromHf(hfConfig(json, where));
  const { specs, lmHeadSpec, initStd, config } = architecture;
  const scalar = scalarHeadSpecs(SCALAR_HEAD, config.nEmbd, { init: { normal: initStd } });
  const head = kind === "scalar" ? scalar : lmHeadSpec ? [lmHeadSpec] : [];
  const labels =
    kind === "scalar" ? { num_labels: 1, id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 } } : {};
  return {
    architecture,
    kind,
    specs: [...specs, ...head],
    toHf: () => ({ ...json, ...architecture.toHf(), ...labels, architectures: [family.architectures[kind]] }),
  };
}

/** A language model over `parameters`, which may hold more than the model needs. */
export function languageModel(
  plan: Blueprint,
  parameters: Parameters,
  computing: Computing = COMPUTING,
): LanguageModel {
  const { lmHead } = plan.architecture;
  return {
    ...trunk(plan, parameters, computing),
    ...languageHead({
      weight: parameters.get(lmHead),
      bias: undefined,
      precision: computing.precision,
    }),
    with: (others, otherwise) => languageModel(plan, others, { ...computing, ...otherwise }),
  };
}

/** A scalar model over `parameters`. */
export function scalarModel(
  plan: Blueprint,
  parameters: Parameters,
  computing: Computing = COMPUTING,
): ScalarModel {
  return {
    ...trunk(plan, parameters, computing),
    scores: (hidden) => scalarHead(parameters, SCALAR_HEAD, hidden),
    with: (others, otherwise) => scalarModel(plan, others, { ...computing, ...otherwise }),
  };
}

/**
 * A new language model with random weights.
 * @param json its sizes, spelled as in Hugging Face's `config.json`, with `model_type`
 */
export function createModel(device: Device, json: Json, options: ParameterOptions): LanguageModel {
  const plan = blueprint(json, "lm");
  return languageModel(plan, createParameters(device, plan.specs, options));
}

/** A new scalar model with random weights. */
export function createScalarModel(device: Device, json: Json, options: ParameterOptions): ScalarModel {
  const plan = blueprint(json, "scalar");
  return scalarModel(plan, createParameters(device, plan.specs, options));
}

function trunk(
  { architecture, specs, toHf }: Blueprint,
  parameters: Parameters,
  computing: Computing,
): Trunk {
  for (const { name, shape } of specs) {
    const got = parameters.get(name).shape;
    if (String(got) !== String(shape))
      throw new ShapeError(`model: ${name} is [${got}]; expected [${shape}]`);
  }
  if (computing.precision === "mixed") needHalves(parameters.device);
  const { config } = architecture;
  return {
    config,
    specs,
    parameters,
    toHf,
    hidden: (batch, cache) => architecture.hidden(parameters, batch, computing, cache),
  };
}
