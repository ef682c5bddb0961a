/** Models from a config: the family's architecture, a head, and parameters. */
import { ConfigError, FormatError, ShapeError } from "../src/errors.ts";
import type { Device } from "../src/gpu/device.ts";
import type { ParameterSpec } from "../src/nn/init.ts";
import { languageHead } from "../src/nn/lm-head.ts";
import {
  COMPUTING,
  type Computing,
  type LanguageModel,
  type ModelConfig,
  type ScalarModel,
  type Trunk,
} from "../src/nn/lm.ts";
import { needHalves } from "../src/ops/cast.ts";
import { createParameters, type ParameterOptions, type Parameters } from "../src/nn/parameters.ts";
import { sub } from "../src/ops/binary.ts";
import { slice } from "../src/ops/layout.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { labelsOf } from "./classifier.ts";
import type { Architecture } from "./family.ts";
import { hfConfig } from "./hf-config.ts";
import { modelFamily, modelKind, type ModelKind } from "./index.ts";

type Json = Readonly<Record<string, unknown>>;

/** All about a model except its weights. */
export interface Blueprint {
  readonly architecture: Architecture;
  readonly kind: ModelKind;
  /** Labels of the classifier, where it is one. */
  readonly labels: number;
  /** Trunk and head. */
  readonly specs: readonly ParameterSpec[];
  readonly headSpecs: readonly ParameterSpec[];
  /** The `config.json` of a model built from it. */
  toHf(): Json;
}

/** What the config of a classifier with one label says of it. */
const ONE_LABEL: Json = { num_labels: 1, id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 } };

/**
 * Reads a `config.json` for a model with the head that is wanted: that of the config's own, or a new one of one label.
 * @param has whether the checkpoint has a tensor of this name: a head's bias is there or not
 * @throws FormatError when the config is not usable
 */
export function blueprint(
  json: Json,
  kind: ModelKind,
  where = "config.json",
  has: (name: string) => boolean = () => false,
): Blueprint {
  const family = modelFamily(json, where);
  const hf = hfConfig(json, where);
  const architecture = family.fromHf(hf);
  const { specs, lmHead, lmHeadSpec, classifier } = architecture;
  if (kind === "lm" && lmHead === undefined)
    throw new FormatError(
      `${where}: expected a language model, got "${family.name}", an encoder: it does not predict the next token; it can be a reward`,
    );
  const isNew = kind === "scalar" && modelKind(json, where) !== "scalar";
  const labels = kind === "lm" || isNew ? 1 : labelsOf(hf);
  const head = kind === "scalar" ? classifier.specs(labels, has) : lmHeadSpec ? [lmHeadSpec] : [];
  const ours = { ...architecture.toHf(), ...(isNew ? ONE_LABEL : {}) };
  return {
    architecture,
    kind,
    labels,
    specs: [...specs, ...head],
    headSpecs: head,
    toHf: () => ({ ...json, ...ours, architectures: [family.architectures[kind]] }),
  };
}

/** A language model over `parameters`, which may hold more than the model needs. */
export function languageModel(
  plan: Blueprint,
  parameters: Parameters,
  computing: Computing = COMPUTING,
): LanguageModel {
  return {
    ...trunk(plan, parameters, computing),
    ...languageHead({
      weight: parameters.get(plan.architecture.lmHead!),
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
  const { labels, architecture, headSpecs } = plan;
  const { reads, logits } = architecture.classifier;
  return {
    ...trunk(plan, parameters, computing),
    reads,
    labels,
    headSpecs,
    classLogits: (hidden) => logits(parameters, hidden),
    scores: (hidden) => scoreOf(logits(parameters, hidden)),
    with: (others, otherwise) => scalarModel(plan, others, { ...computing, ...otherwise }),
  };
}

/** [R, 1] or [R, 2] to [R]. */
function scoreOf(logits: Tensor): Tensor {
  const labels = logits.dim(-1);
  if (labels === 1) return logits.reshape(-1);
  if (labels !== 2)
    throw new ConfigError(`scores: the classifier has ${labels} labels; expected one, or two (bad, good)`);
  return sub(slice(logits, 1, 1, 2), slice(logits, 1, 0, 1)).reshape(-1);
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
    hidden(batch, cache) {
      checkContext(config, batch.ids.dim(1));
      return architecture.hidden({ parameters, batch, computing, cache });
    },
  };
}

function checkContext({ family, blockSize }: ModelConfig, T: number): void {
  if (T <= blockSize) return;
  throw new ShapeError(
    `${family}: the batch has rows of ${T} tokens; expected at most ${blockSize}, the model's context. Cut them first`,
  );
}
