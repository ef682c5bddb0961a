import { afterAll, describe, expect, it } from "vitest";
import { type ParameterSpec, type Parameters, createParameters } from "../../src/nn/parameters.ts";
import { type AdamWOptions, createAdamW } from "../../src/optim/adamw.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { schedule } from "../../src/optim/schedule.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { square } from "../../src/ops/unary.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";

type Values = Readonly<Record<string, number[] | number[][]>>;

interface Golden {
  readonly params: Values;
  readonly gradients: readonly Values[];
  readonly cases: readonly {
    readonly name: string;
    readonly hyperparameters: Readonly<
      Record<"lr" | "beta1" | "beta2" | "eps" | "weight_decay" | "max_grad_norm" | "total_steps", number>
    > & { readonly schedule: "constant" | "linear_to_zero" };
    readonly no_decay: readonly string[];
    readonly steps: readonly {
      readonly lr: number;
      readonly grad_norm_before_clip: number;
      readonly clip_coefficient: number;
    }[];
    readonly params_after: Readonly<Record<string, Values>>;
  }[];
}

const device = await testDevice();
afterAll(() => device.close());

const shapeOf = (value: number[] | number[][]): number[] =>
  Array.isArray(value[0]) ? [value.length, value[0].length] : [value.length];

function write(parameters: Parameters, values: Values, where: "value" | "grad"): void {
  for (const [name, value] of Object.entries(values)) {
    const tensor = parameters.get(name);
    (where === "value" ? tensor : tensor.grad!).write(value.flat());
  }
}

describe("adamw", () => {
  const { params, gradients, cases } = golden<Golden>("optim.json");
  for (const { name, hyperparameters: h, no_decay, steps, params_after } of cases) {
    it(`matches the reference: ${name}`, async () => {
      const specs = Object.entries(params).map(([key, value]): ParameterSpec => {
        return { name: key, shape: shapeOf(value), init: "zeros", decay: !no_decay.includes(key) };
      });
      const parameters = createParameters(device, specs, { trainable: true });
      write(parameters, params, "value");
      const optimizer = await createAdamW(device, parameters, {
        betas: [h.beta1, h.beta2],
        eps: h.eps,
        weightDecay: h.weight_decay,
        gradClip: h.max_grad_norm,
      });
      const kind = h.schedule === "constant" ? "constant" : "linear";
      const factor = schedule({ kind, total: h.total_steps });
      for (const [i, step] of steps.entries()) {
        write(parameters, gradients[i]!, "grad");
        expectClose(h.lr * factor(i), step.lr, 1e-12, "lr");
        optimizer.step(h.lr * factor(i));
        const [norm, clip] = await optimizer.clip.read();
        expect(Math.abs(norm! / step.grad_norm_before_clip - 1)).toBeLessThan(1e-6);
        expectClose(clip!, step.clip_coefficient, 1e-6, "clip factor");
        for (const [key, value] of await parameters.readAll()) {
          expectAllClose(value, params_after[i + 1]![key]!.flat(), 1e-6, `step ${i + 1}: ${key}`);
          expect((await parameters.get(key).grad!.read()).every((g) => g === 0)).toBe(true);
        }
      }
      expect(optimizer.steps).toBe(steps.length);
      optimizer.dispose();
      parameters.dispose();
    });
  }
});

const sizes = [10_001, 3, 4096, 12_289, 1];
const specs = sizes.map((n, i): ParameterSpec => {
  return { name: `w${i}`, shape: [n], init: { normal: 1 }, decay: i % 2 === 0 };
});

/** 20 steps on sum of c·w² with uneven c; returns the hash and the largest |w|. */
async function quadratic(options: AdamWOptions, steps = 20): Promise<{ hash: string; largest: number }> {
  const parameters = createParameters(device, specs, { trainable: true, seed: 5 });
  const optimizer = await createAdamW(device, parameters, options);
  const program = await record(device, "quadratic", () => {
    const weights = sizes.map((n) => input([n]));
    sizes.forEach((_, i) => backwardFrom(square(parameters.get(`w${i}`)), weights[i]!));
    optimizer.update();
    return { weights };
  });
  program.result.weights.forEach((c) => c.write(Array.from({ length: c.size }, (_, i) => 0.01 + (i % 7))));
  const rate = schedule({ kind: "cosine", total: steps });
  for (let i = 0; i < steps; i++) {
    optimizer.prepare(0.1 * rate(i));
    program.run();
  }
  const values = await parameters.readAll();
  const largest = Math.max(
    ...[...values.values()].map((v) => v.reduce((a, x) => Math.max(a, Math.abs(x)), 0)),
  );
  const hash = await parameters.hash();
  program.dispose();
  optimizer.dispose();
  parameters.dispose();
  return { hash, largest };
}

describe("adamw as an optimizer", () => {
  it("reaches a quadratic's minimum", async () => {
    const before = await quadratic({}, 0);
    const after = await quadratic({ gradClip: 100 }, 400);
    expect(before.largest).toBeGreaterThan(3);
    expect(after.largest).toBeLessThan(1e-3);
  });

  it("gives the same bits twice, and in several windows", async () => {
    const options = { gradClip: 1, weightDecay: 0.1 };
    const first = await quadratic(options);
    expect((await quadratic(options)).hash).toBe(first.hash);
    expect((await quadratic({ ...options, maxBindingBytes: 32768 })).hash).toBe(first.hash);
    expect((await quadratic({ ...options, gradClip: 2 })).hash).not.toBe(first.hash);
  });

  it("ignores what lies behind a tensor's last element", async () => {
    const parameters = createParameters(device, specs, { trainable: true, seed: 1 });
    const optimizer = await createAdamW(device, parameters);
    const { buffer } = parameters.trained!.grads.place!;
    device.gpu.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
    for (const [, tensor] of parameters) tensor.grad!.write(new Float32Array(tensor.size).fill(2));
    optimizer.step(0.1);
    const [norm] = await optimizer.clip.read();
    expect(norm).toBeCloseTo(2 * Math.sqrt(sizes.reduce((a, b) => a + b)), 3);
    for (const [, value] of await parameters.readAll()) expect(value.every(Number.isFinite)).toBe(true);
    optimizer.dispose();
    parameters.dispose();
  });

  it("refuses what makes no sense", async () => {
    const frozen = createParameters(device, specs, { trainable: false });
    const trained = createParameters(device, specs, { trainable: (name) => name === "w1" });
    await expect(createAdamW(device, frozen)).rejects.toThrow("no parameter is trained");
    await expect(createAdamW(device, trained, { betas: [0.9, 1] })).rejects.toThrow("betas[1] is 1");
    await expect(createAdamW(device, trained, { eps: 0 })).rejects.toThrow("eps is 0");
    const optimizer = await createAdamW(device, trained);
    expect([...optimizer.tensors.keys()]).toEqual(["m.w1", "v.w1"]);
  });
});
