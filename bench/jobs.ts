/** What is timed: the kernels that training and decoding spend their time in, at the shapes of small GPTs. */
import { createModel } from "../models/model.ts";
import type { Device } from "../src/gpu/device.ts";
import { createEngine, type GenerateSettings } from "../src/generate/engine.ts";
import { createParameters } from "../src/nn/parameters.ts";
import { attentionOp } from "../src/ops/attention.ts";
import { tokenLogprobs } from "../src/ops/logprob.ts";
import { matmul, type MatmulAttrs } from "../src/ops/matmul.ts";
import { norm } from "../src/ops/norm.ts";
import { softmaxOp } from "../src/ops/softmax.ts";
import { createAdamW } from "../src/optim/adamw.ts";
import { backwardFrom } from "../src/optim/gradients.ts";
import type { AnyOp, NdArray } from "../src/tensor/op.ts";
import { createRandom } from "../src/tensor/random.ts";
import { input, persistent, record, type Shape, sizeOf, type Tensor } from "../src/tensor/tensor.ts";
import { type Job, relativeError } from "./measure.ts";

/** A job by its name, made when it is to run. */
export interface Plan {
  readonly name: string;
  make(device: Device): Promise<Job>;
}

/** The same normal values on every machine. */
function values(name: string, shape: Shape): Float32Array {
  const random = createRandom(1, name);
  return Float32Array.from({ length: sizeOf(shape) }, () => random.normal());
}

/** MxNxK of the layers of small GPTs, and a square one. */
const MATMULS = [
  [512, 512, 512],
  [256, 64, 64],
  [2048, 128, 128],
  [2048, 384, 128],
  [2048, 512, 128],
  [2048, 128, 512],
  [1024, 384, 384],
  [1024, 1536, 384],
  [1024, 384, 1536],
  [512, 768, 768],
  [512, 3072, 768],
  [512, 768, 3072],
] as const;

const MODES = { nn: {}, nt: { transposeB: true }, tn: { transposeA: true } } as const;

function matmulPlan(mode: keyof typeof MODES, [M, N, K]: readonly [number, number, number]): Plan {
  const attrs: MatmulAttrs = MODES[mode];
  const [a, b] = [attrs.transposeA ? [K, M] : [M, K], attrs.transposeB ? [N, K] : [K, N]];
  const name = `matmul ${mode} ${M}x${N}x${K}`;
  return {
    name,
    async make(device) {
      const inputs = { a: values("a", a), b: values("b", b) };
      const program = await record(device, name, () => {
        const tensors = { a: input(a), b: input(b) };
        return { ...tensors, c: matmul(tensors.a, tensors.b, undefined, attrs) };
      });
      const { result } = program;
      result.a.write(inputs.a);
      result.b.write(inputs.b);
      const entry = (m: number, n: number): number => {
        let sum = 0;
        for (let k = 0; k < K; k++) {
          sum +=
            inputs.a[attrs.transposeA ? k * M + m : m * K + k]! *
            inputs.b[attrs.transposeB ? n * K + k : k * N + n]!;
        }
        return sum;
      };
      return {
        name,
        flops: 2 * M * N * K,
        bytes: 0,
        tolerance: 1e-5,
        submit: (times) => program.run(times),
        dispose: () => program.dispose(),
        async check() {
          program.run();
          const c = await result.c.read();
          const picks = Array.from({ length: 500 }, (_, i) => (i * 7919 + 13) % (M * N)); // 7919 is prime: rows and columns mix
          return relativeError(picks.map((i) => c[i]!), picks.map((i) => entry(Math.floor(i / N), i % N))); // prettier-ignore
        },
      };
    },
  };
}

/** Inputs of an op: shapes to fill with normal values, or values of their own. */
type Given = readonly (Shape | { readonly ids: Uint32Array; readonly shape: Shape })[];

/** An op alone, or with its way back from a gradient of normal values. */
function opPlan(
  name: string,
  op: AnyOp,
  given: Given,
  attrs: object,
  cost: Partial<Pick<Job, "flops" | "bytes">>,
  learns: boolean,
): Plan {
  const full = learns ? `${name} forward + backward` : name;
  const arrays = given.map((g, i) =>
    "ids" in g ? { shape: g.shape, data: g.ids } : { shape: g, data: values(`${name} ${i}`, g) },
  );
  return {
    name: full,
    async make(device) {
      const program = await record(device, full, () => {
        const inputs = arrays.map(({ shape, data }) =>
          input(shape, data instanceof Uint32Array ? "u32" : "f32"),
        );
        if (learns) for (const x of inputs) if (x.dtype === "f32") x.grad = persistent(device, x.shape);
        const made = op(...inputs, attrs) as Tensor | readonly Tensor[];
        const y = (Array.isArray(made) ? made[0] : made) as Tensor;
        const dy = input(y.shape);
        if (learns) backwardFrom(y, dy);
        return { inputs, y, dy };
      });
      const { inputs, y, dy } = program.result;
      inputs.forEach((x, i) => x.write(arrays[i]!.data));
      dy.write(values("dy", dy.shape));
      return {
        name: full,
        flops: 0,
        bytes: 0,
        ...cost,
        tolerance: 1e-5,
        submit: (times) => program.run(times),
        dispose: () => program.dispose(),
        async check() {
          program.run();
          const float64 = arrays.map(({ shape, data }): NdArray => ({
            shape,
            data: Float64Array.from(data),
          }));
          return relativeError(await y.read(), op.reference(float64, attrs)[0]!.data);
        },
      };
    },
  };
}

function attentionPlans(B: number, T: number, H: number, D: number): Plan[] {
  const shape = [B, T, H, D];
  const range = { ids: Uint32Array.from({ length: 2 * B }, (_, i) => (i % 2) * T), shape: [B, 2] };
  const forward = 2 * B * H * T * T * D; // causal: half of 4 B H T T D
  const given = [shape, shape, shape, range];
  const plan = (learns: boolean): Plan =>
    opPlan(
      `attention B${B} T${T} H${H} D${D}`,
      attentionOp,
      given,
      { causal: true },
      { flops: learns ? 4.5 * forward : forward },
      learns,
    );
  return [plan(false), plan(true)];
}

/** Rows: memory is the limit. Forward reads x and writes y; backward reads x and dy and writes dx. */
function rowPlans(R: number, C: number): Plan[] {
  const layer: Given = [[R, C], [C], [C]];
  const targets = { ids: Uint32Array.from({ length: R }, (_, r) => (r * 31) % C), shape: [R] };
  const n = 4 * R * C;
  return [
    opPlan(`layerNorm ${R}x${C}`, norm, layer, { eps: 1e-5, kind: "layer" }, { bytes: 2 * n }, false),
    opPlan(`layerNorm ${R}x${C}`, norm, layer, { eps: 1e-5, kind: "layer" }, { bytes: 5 * n }, true),
    opPlan(`softmax ${R}x${C}`, softmaxOp, [[R, C]], { logarithm: false }, { bytes: 2 * n }, false),
    opPlan(`tokenLogprobs ${R}x${C}`, tokenLogprobs, [[R, C], targets], {}, { bytes: n }, false),
    opPlan(`tokenLogprobs ${R}x${C}`, tokenLogprobs, [[R, C], targets], {}, { bytes: 3 * n }, true),
  ];
}

/** One step over n parameters: reads value, gradient and both moments, writes them all (the gradient is cleared). */
function adamwPlan(n: number): Plan {
  const name = `adamw ${n}`;
  return {
    name,
    async make(device) {
      const parameters = createParameters(device, [{ name: "w", shape: [n], init: "normal", decay: true }], {
        trainable: true,
        seed: 1,
      });
      const settings = { betas: [0.9, 0.95] as const, eps: 1e-8, weightDecay: 0.1 };
      const adamw = await createAdamW(device, parameters, settings);
      const w = parameters.get("w");
      return {
        name,
        flops: 0,
        bytes: 8 * 4 * n,
        tolerance: 1e-6,
        submit(times) {
          for (let i = 0; i < times; i++) adamw.step(1e-3);
        },
        dispose() {
          adamw.dispose();
          parameters.dispose();
        },
        async check() {
          const before = await w.read();
          const g = values("gradient", [n]);
          w.grad!.write(g);
          adamw.step(1e-3);
          // After one step the bias-corrected moments are g and g²: θ (1 - lr wd) - lr g / (|g| + eps)
          const expected = before.map(
            (x, i) => x * (1 - 1e-3 * 0.1) - (1e-3 * g[i]!) / (Math.abs(g[i]!) + 1e-8),
          );
          return relativeError(await w.read(), expected);
        },
      };
    },
  };
}

/** The sizes of stories260K. */
const STORIES = {
  model_type: "llama",
  vocab_size: 512,
  hidden_size: 64,
  intermediate_size: 172,
  num_hidden_layers: 5,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  max_position_embeddings: 512,
  tie_word_embeddings: true,
};

/** Responses of 48 tokens to one prompt of 8, prefill included. */
function decodePlan(rows: number): Plan {
  const name = `decode stories260K, ${rows} rows`;
  return {
    name,
    async make(device) {
      const model = createModel(device, STORIES, { trainable: false, seed: 1 });
      const settings: GenerateSettings = { temperature: 1, maxNewTokens: 48, eosIds: [] };
      const engine = await createEngine(model, rows, 8, settings);
      const ids = [1, 2, 3, 4, 5, 6, 7, 8];
      const requests = Array.from({ length: rows }, (_, i) => ({ ids, stream: [0, i] as const }));
      return {
        name,
        flops: 0,
        bytes: 0,
        tokens: rows * settings.maxNewTokens,
        tolerance: 1e-5,
        async submit(times) {
          for (let i = 0; i < times; i++) await engine.generate(requests, { seed: i });
        },
        dispose() {
          engine.dispose();
          model.parameters.dispose();
        },
        /** Log-probabilities of the last sample against those of the whole text scored at once. */
        async check() {
          const sample = (await engine.generate(requests, { seed: 0 })).at(-1)!;
          const text = [...ids, ...sample.ids];
          const T = text.length - 1;
          const score = await record(device, "score", () => {
            const batch = {
              ids: input([1, T], "u32"),
              positions: input([1, T], "u32"),
              range: input([1, 2], "u32"),
            };
            const targets = input([T], "u32");
            const [logprobs] = tokenLogprobs(model.logits(model.hidden(batch).reshape(T, -1)), targets, {});
            return { batch, targets, logprobs };
          });
          const { batch, targets, logprobs } = score.result;
          batch.ids.write(text.slice(0, T));
          batch.positions.write(Array.from({ length: T }, (_, t) => t));
          batch.range.write([0, T]);
          targets.write(text.slice(1));
          score.run();
          const expected = (await logprobs.read()).subarray(ids.length - 1);
          score.dispose();
          return relativeError(sample.logprobs, expected);
        },
      };
    },
  };
}

/** Every job, in the order of the report. */
export const plans: readonly Plan[] = [
  ...MATMULS.flatMap((shape) => (["nn", "nt", "tn"] as const).map((mode) => matmulPlan(mode, shape))),
  ...attentionPlans(32, 64, 4, 32),
  ...attentionPlans(8, 256, 6, 64),
  ...rowPlans(2048, 512),
  ...rowPlans(256, 8192),
  adamwPlan(1 << 20),
  decodePlan(64),
  decodePlan(512),
];
