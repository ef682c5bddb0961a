/**
 * Dawn's null backend computes nothing but checks everything: every kernel, in every variant, for every subgroup
 * size, compiles and stays within the limits that each WebGPU adapter has to offer.
 */
process.env["VBON_BACKEND"] = "null"; // each test file has a process of its own

import { readdirSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { createModel } from "../models/model.ts";
import { recordCopy, recordMultiply } from "../src/bench/ceiling.ts";
import { createEngine } from "../src/generate/engine.ts";
import { sampleTokens, sampleVariants } from "../src/generate/sample.ts";
import { philoxWords } from "../src/generate/uniforms.ts";
import type { Device } from "../src/gpu/device.ts";
import { openDevice } from "../src/gpu/device.ts";
import { loadKernel, specialise } from "../src/gpu/kernel.ts";
import type { MatrixFacts, MatrixShape } from "../src/gpu/tiers.ts";
import { cut } from "../src/gpu/wgsl.ts";
import { mul, scale } from "../src/ops/binary.ts";
import { packedAttention } from "../src/ops/attention.ts";
import { matmul } from "../src/ops/matmul.ts";
import { recordMatrix } from "../src/ops/matmul-matrix.ts";
import { recordParts } from "../src/ops/matmul-parts.ts";
import { ops } from "../src/ops/index.ts";
import { weightedNll } from "../src/ops/logprob.ts";
import { exp } from "../src/ops/unary.ts";
import { createAdamW } from "../src/optim/adamw.ts";
import { createLossScale } from "../src/optim/loss-scale.ts";
import { createAverage } from "../src/optim/average.ts";
import { backward, backwardFrom } from "../src/optim/gradients.ts";
import type { AnyOp, Case, NdArray } from "../src/tensor/op.ts";
import { type Dtype, empty, input, persistent, record, type Tensor } from "../src/tensor/tensor.ts";
import { build } from "../src/bench/check.ts";
import { batchInput } from "./support/models.ts";

/** Every limit that kernels can exceed, as WebGPU guarantees it. */
const DEFAULTS = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxStorageBufferBindingSize: 134217728,
  maxBindGroups: 4,
};

const ADAPTERS = [0, 4, 8, 16, 32, 64].flatMap((subgroupSize) =>
  [true, false].map((software) => ({ subgroupSize, software, ...unitOf(subgroupSize, software) })),
);

/** Matrix units as there are: of Apple's GPUs, NVIDIA's older and newer; spoken to in either dialect. */
function unitOf(lanes: number, software: boolean): { readonly matrix?: MatrixFacts } {
  const unit = (component: "f16" | "f32", M: number, N: number, K: number): MatrixShape => {
    return { component, result: "f32", M, N, K };
  };
  if (lanes === 32 && software) return { matrix: { dialect: "modes", shapes: [unit("f32", 8, 8, 8)] } };
  if (lanes === 32) return { matrix: { dialect: "modes", shapes: [unit("f16", 16, 16, 16)] } };
  return lanes === 64 && !software ? { matrix: { dialect: "flags", shapes: [unit("f16", 16, 8, 16)] } } : {};
}

/** How many outputs of a case can be given a gradient; the others only serve the way back. */
const outputCounts = new Map<Case<object>, number>();

function outputCount(op: AnyOp, test: Case<object>): number {
  const arrays = (): (NdArray | undefined)[] => test.inputs.map((spec, i) => build(spec, i + 1)?.array);
  const count = outputCounts.get(test) ?? op.reference(arrays(), test.attrs ?? {}).length;
  outputCounts.set(test, count);
  return count;
}

/** Records one case of an op, forward and backward. */
async function recordCase(
  device: Device,
  op: AnyOp,
  test: Case<object>,
  variant: string | undefined,
): Promise<void> {
  const attrs = { ...test.attrs, ...(variant ? { variant } : {}) };
  const program = await record(device, op.name, () => {
    const tensors = test.inputs.map((spec) => {
      if (!spec) return undefined;
      const { shape, dtype = "f32" } = "shape" in spec ? spec : { shape: spec };
      const tensor = input(shape, dtype);
      if (dtype !== "u32" && op.backward) tensor.grad = persistent(device, shape);
      return tensor;
    });
    const made = op(...tensors, attrs) as Tensor | readonly Tensor[];
    const outputs = Array.isArray(made) ? (made as readonly Tensor[]) : [made as Tensor];
    if (op.backward) for (const y of outputs.slice(0, outputCount(op, test))) backwardFrom(y, input(y.shape));
    return outputs;
  });
  program.dispose();
}

/** Everything with kernels that is not an op: optimizer, decoding, sampling in each of its ways. */
async function recordTheRest(device: Device): Promise<void> {
  const config = { model_type: "gpt2", vocab_size: 20, n_positions: 32, n_layer: 1, n_head: 2, n_embd: 8 };
  const model = createModel(device, config, { trainable: true, seed: 1 });
  await createAdamW(device, model.parameters, { gradClip: 1, weightDecay: 0.1 });
  await createAverage(model.parameters, model.parameters);
  await record(device, "training", () => {
    const batch = batchInput(2, 8);
    const { logprobs } = model.logprobs(model.hidden(batch).reshape(16, -1), input([16], "u32"));
    const loss = weightedNll(logprobs, input([16]));
    backward(loss);
    backward(loss, createLossScale(device));
  });
  await record(device, "used twice", () => {
    const x = input([4, 3]);
    x.grad = persistent(device, [4, 3]);
    const twice = scale(x, 2);
    backwardFrom(mul(exp(twice), twice), input([4, 3]));
  });
  const settings = { maxNewTokens: 4, eosIds: [1], temperature: 1 };
  const engine = await createEngine(model, 2, 4, settings);
  await engine.prepare(1);
  // Nothing computes here, and a generator that waits for it says so.
  await expect(engine.generate([{ ids: [1, 2], stream: [0, 0] }], { seed: 1 })).rejects.toThrow(
    /has not computed/,
  );
  await record(device, "sampling", () => {
    const state = { seed: input([2], "u32"), streams: input([3, 2], "u32"), positions: input([3], "u32") };
    const logits = input([3, 70]);
    const ways = [
      { temperature: 1, topK: 5, topP: 0.9 },
      { temperature: 1, greedy: true },
      { temperature: 1, topP: 0.5 },
    ];
    const drawn = ways.flatMap((way) =>
      sampleVariants(device).map((v) => sampleTokens(logits, state, way, v)),
    );
    return { drawn, words: philoxWords(input([1, 4], "u32"), state.seed) };
  });
  await device.pipeline(specialise(await loadKernel("debug"), "first_nan"));
  (await recordMultiply(device, 1)).program.dispose();
  (await recordCopy(device, 1024)).dispose();
}

const compiled = new Set<string>();
const widest: { storages: number; key: string } = { storages: 0, key: "" };

describe.each(ADAPTERS)("with $subgroupSize lanes a subgroup (0 = none), software $software", (pretend) => {
  it("every kernel compiles and fits the default limits", { timeout: 300_000 }, async () => {
    const device = await openDevice({ validation: true, limits: "default", pretend, memoryLimit: 2 ** 33 });
    for (const [name, value] of Object.entries(DEFAULTS)) {
      expect(device.limits[name as keyof typeof DEFAULTS], name).toBe(value);
    }
    const misfits = new Set<string>();
    const note = (error: Error): void => void misfits.add(error.message);
    for (const op of ops) {
      const variants = [...(op.variants?.(device) ?? []), ...(op.roundingVariants?.(device) ?? [])];
      for (const variant of new Set([undefined, ...variants])) {
        for (const test of op.cases) await recordCase(device, op, test, variant).catch(note);
      }
    }
    await recordTheRest(device).catch(note);
    expect([...misfits]).toEqual([]);
    for (const { label, key, resources } of device.specialisations) {
      compiled.add(label);
      if (resources.length > widest.storages) Object.assign(widest, { storages: resources.length, key });
    }
    device.check(); // no validation error went by
    await device.close();
  });
});

afterAll(() =>
  console.log(
    `${compiled.size} entry points; the most storage buffers are ${widest.storages}, of ${widest.key}`,
  ),
);

it("products of f16 operands and attention in mixed precision go to the matrix unit where there is one, and nothing else does", async () => {
  const unit = unitOf(32, false);
  for (const [pretended, expected, attention] of [
    [unit, "matmul-matrix.product", "attention-matrix.forward_matrix"],
    [{}, "matmul-tile.tile", "attention-tile.forward_tile"],
  ] as const) {
    const pretend = { subgroupSize: 32, software: false, ...pretended };
    const device = await openDevice({ validation: true, limits: "default", pretend });
    const chosen = async (a: Dtype, b: Dtype): Promise<string> => {
      const build = (): Tensor => matmul(input([64, 64], a), input([64, 64], b), undefined);
      return (await record(device, "product", build)).calls[0]!.spec.label;
    };
    expect(await chosen("f16", "f16")).toBe(expected);
    expect([await chosen("f16", "f32"), await chosen("f32", "f32")]).toEqual(
      Array(2).fill("matmul-tile.tile"),
    );
    const attended = async (precision: "f32" | "mixed", D: number): Promise<string> => {
      const attrs = { kvHeads: 1, causal: true, precision };
      const build = (): Tensor => packedAttention(input([1, 64, 3, D]), input([1, 2], "u32"), attrs);
      return (await record(device, "attention", build)).calls[0]!.spec.label;
    };
    expect(await attended("mixed", 64)).toBe(attention);
    for (const [precision, D] of [
      ["f32", 64],
      ["mixed", 128],
    ] as const)
      expect(await attended(precision, D)).toBe("attention-tile.forward_tile");
    await device.close();
  }
});

it("parts of a product are added up within the grid that every adapter has, however large it is", async () => {
  const pretend = { subgroupSize: 32, software: false, ...unitOf(32, false) };
  const device = await openDevice({ validation: true, pretend });
  const piece = { SM: 2, SN: 2, rows: 32, columns: 32, depth: 32 };
  const unit = pretend.matrix!.shapes[0]!;
  // The gradient of a weight of Pythia-1.4B: 2^24 values, and 65,536 workgroups of 64 vec4s would be one too many.
  const [M, N, K] = [2048, 8192, 128];
  const build = (): Tensor => {
    const [a, b, c] = [input([K, M], "f16"), input([K, N], "f16"), empty([M, N], "f32", "c")];
    const modes = { transposeA: true, transposeB: false, shared: true };
    const product = { a, b, bias: undefined, c, batch: 1, M, N, K, ...modes };
    recordParts(product, 2, 64, (cut) => recordMatrix(product, { unit, piece, wide: true, cut }));
    return c;
  };
  const { calls } = await record(device, "product", build);
  expect(calls.map(({ spec }) => spec.label)).toEqual(["matmul-matrix.product", "matmul-parts.gather"]);
  for (const { workgroups } of calls) for (const n of workgroups) expect(n).toBeLessThanOrEqual(65535);
  await device.close();
});

it("no entry point of any shader is left out", async () => {
  const all: string[] = [];
  for (const file of readdirSync(new URL("../shaders", import.meta.url))) {
    const kernel = await loadKernel(file.replace(".wgsl", ""));
    const first = /fn (\w+)/.exec(kernel.source)![1]!;
    all.push(...cut(kernel.source, first).entries.map((entry) => `${kernel.name}.${entry}`));
  }
  expect(all.filter((label) => !compiled.has(label))).toEqual([]);
});
