/** Low-rank adapters on every family: nothing changes at first, gradients, merging. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel, createScalarModel } from "../../models/model.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import {
  adaptedParameters,
  adapterNames,
  adapterTargets,
  mergeAdapters,
  mergedValues,
  moduleOf,
} from "../../src/nn/lora.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import { createAdamW } from "../../src/optim/adamw.ts";
import { waves } from "../support/adapters.ts";
import { expectRelative, gradientsOf } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { DECODER_CONFIGS } from "../support/family-configs.ts";
import { lossProgram, scoreProgram } from "../support/models.ts";
import { padded, someRows } from "../support/padding.ts";
import { randomise } from "../support/reference-check.ts";
import { SMALL } from "../support/small-models.ts";

const device = await testDevice();
afterAll(() => device.close());

const batch = padded(someRows([13, 9, 2], 64), "right");
const settings = { pattern: "all-linear", rank: 3, alpha: 7 };

/** Every B away from zero, where it starts. */
function stir(adapter: Parameters): void {
  for (const [name, tensor] of adapter) tensor.write(waves(tensor.size, name.length));
}

async function lossAndGrads(model: LanguageModel) {
  const program = await lossProgram(model, batch);
  model.parameters.zeroGrads();
  program.run();
  const found = { loss: await program.loss(), grads: await gradientsOf(model.parameters) };
  program.dispose();
  return found;
}

describe.each(DECODER_CONFIGS)("$what", ({ json }) => {
  const base = createModel(device, json, { trainable: false });
  randomise(base.parameters, 8);
  const firstEnd = moduleOf(adapterTargets(base.specs, "all-linear")[0]!).split(".").at(-1)!;

  it.each([firstEnd, "all-linear"])("computes the bits of the base at first: %s", async (pattern) => {
    const adapter = adaptedParameters(base, { ...settings, pattern }, { seed: 4 });
    const got = await scoreProgram(base.with(adapter), batch);
    expect(got).toEqual(await scoreProgram(base, batch));
    const before = await base.parameters.hash();
    adapter.dispose();
    expect(await base.parameters.hash()).toBe(before);
  });

  it("has dA = s Bᵀ dW and dB = s dW Aᵀ, with and without checkpointing", async () => {
    const adapter = adaptedParameters(base, settings, { seed: 4 });
    stir(adapter);
    const adapted = base.with(adapter);
    const dense = createModel(device, json, { trainable: true });
    for (const spec of base.specs) dense.parameters.get(spec.name).write(await mergedValues(adapter, spec));
    const want = await lossAndGrads(dense);
    const values = await adapter.readAll();
    for (const checkpointing of [false, true]) {
      const got = await lossAndGrads(adapted.with(adapter, { checkpointing }));
      expect(Math.abs(got.loss - want.loss)).toBeLessThan(1e-5);
      for (const spec of adapterTargets(base.specs, "all-linear")) {
        const { a, b } = adapterNames(moduleOf(spec));
        const { dA, dB } = fromDense(want.grads.get(spec.name)!, spec, values.get(a)!, values.get(b)!);
        expectRelative(got.grads.get(a)!, dA, 1e-3, 1e-6, a);
        expectRelative(got.grads.get(b)!, dB, 1e-3, 1e-6, b);
      }
    }
  });

  it("computes the same merged, and its old weights come back", async () => {
    const own = createModel(device, json, { trainable: false });
    own.parameters.copyFrom(base.parameters);
    const adapter = adaptedParameters(own, settings, { seed: 4 });
    stir(adapter);
    const want = await scoreProgram(own.with(adapter), batch);
    const before = await own.parameters.readAll();
    await mergeAdapters(own.specs, adapter);
    const got = await scoreProgram(own, batch);
    const size = Math.max(...want.logits.map(Math.abs));
    got.logits.forEach((l, i) =>
      expect(Math.abs(l - want.logits[i]!)).toBeLessThan(1e-5 * Math.max(1, size)),
    );
    await mergeAdapters(own.specs, adapter, -1);
    for (const [name, values] of await own.parameters.readAll())
      values.forEach((v, i) => expect(Math.abs(v - before.get(name)![i]!), name).toBeLessThan(1e-5));
    adapter.dispose();
  });
});

type Spec = LanguageModel["specs"][number];

/** The gradients of A [r, K] and B [N, r] that follow from that of W = W₀ + s B A. */
function fromDense(dW: Float32Array, spec: Spec, A: Float32Array, B: Float32Array) {
  const { rank: r, alpha } = settings;
  const inOut = spec.layout === "in_out";
  const [K, N] = inOut ? spec.shape : spec.shape.toReversed();
  const [dA, dB] = [new Float64Array(r * K!), new Float64Array(N! * r)];
  for (let n = 0; n < N!; n++) {
    for (let k = 0; k < K!; k++) {
      const d = (alpha / r) * dW[inOut ? k * N! + n : n * K! + k]!;
      for (let i = 0; i < r; i++) {
        dA[i * K! + k]! += B[n * r + i]! * d;
        dB[n * r + i]! += A[i * K! + k]! * d;
      }
    }
  }
  return { dA, dB };
}

const llama = createModel(device, SMALL.llama, { trainable: false, seed: 1 });

it("trains and remembers the adapters alone", async () => {
  const adapter = adaptedParameters(llama, { pattern: "q_proj, v_proj", rank: 2, alpha: 4 }, { seed: 0 });
  expect(adapter.names).toHaveLength(3 * 2 * 2);
  expect(adapter.count).toBe(3 * (2 * 32 + 32 * 2 + 2 * 32 + 16 * 2));
  const adamw = await createAdamW(device, adapter);
  expect([...adamw.tensors.keys()].toSorted()).toEqual(
    adapter.names.flatMap((name) => [`m.${name}`, `v.${name}`]).toSorted(),
  );
  const before = await llama.parameters.hash();
  const program = await lossProgram(llama.with(adapter), batch);
  const losses = [];
  for (let step = 0; step < 12; step++) {
    program.run();
    losses.push(await program.loss());
    adamw.step(0.05);
  }
  expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.1);
  expect(await llama.parameters.hash()).toBe(before);
  [adamw, program, adapter].forEach((part) => part.dispose());
});

it("holds no second copy of the base's weights", () => {
  const wide = createModel(device, { ...SMALL.llama, vocab_size: 50_000 }, { trainable: false });
  const before = device.bytesAllocated;
  const adapter = adaptedParameters(wide, settings, { seed: 0 });
  // Values and gradients, each tensor at a multiple of 256 bytes.
  expect(device.bytesAllocated - before).toBeLessThan(2 * (4 * adapter.count + 256 * adapter.names.length));
  adapter.dispose();
  expect(device.bytesAllocated).toBe(before);
  wide.parameters.dispose();
});

it("trains a classifier's head whole, from the values that it had", async () => {
  const model = createScalarModel(device, SMALL.llama, { trainable: false, seed: 1 });
  const adapter = adaptedParameters(model, settings, { seed: 9, whole: model.headSpecs });
  expect(adapter.names).toContain("score.weight");
  expect(adapter.names).not.toContain("score.lora_A.weight");
  expect(await adapter.get("score.weight").read()).toEqual(await model.parameters.get("score.weight").read());
  expect(adapter.get("score.weight").grad).toBeDefined();
});

it("finds maps by the ends of their names and by whole names, and says which there are", () => {
  const of = (pattern: string): string[] => adapterTargets(llama.specs, pattern).map(moduleOf);
  expect(of("proj,q_proj".slice(5))).toHaveLength(3);
  expect(of("self_attn.k_proj")).toEqual([0, 1, 2].map((i) => `model.layers.${i}.self_attn.k_proj`));
  expect(of(".*\\.[01]\\.mlp\\.(up|down)_proj")).toHaveLength(4);
  expect(of("all-linear")).toHaveLength(3 * 7);
  const names = /names no linear map.*q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj/;
  for (const wrong of ["proj", "q_proj,c_attn", "embed_tokens", "lm_head", ".*norm"])
    expect(() => of(wrong), wrong).toThrow(names);
  expect(() => of("(q_proj")).toThrow(/neither a list of names nor a regular expression/);
  const make = (changes: object) => () => adaptedParameters(llama, { ...settings, ...changes }, { seed: 0 });
  expect(make({ rank: 0 })).toThrow("lora: rank is 0; expected a whole number from 1");
  expect(make({ alpha: -1 })).toThrow("lora: alpha is -1; expected a number above 0");
});
