/** Norms, softmax, rope, cross-entropy, entropy and KL against an independent float64 oracle. */
import { afterAll, describe, expect, it } from "vitest";
import { addScalar } from "../../src/ops/binary.ts";
import { crossEntropy, fullKl, tokenLogprobs } from "../../src/ops/logprob.ts";
import { layerNorm, rmsNorm } from "../../src/ops/norm.ts";
import { rope } from "../../src/ops/rope.ts";
import { logSoftmax, softmax } from "../../src/ops/softmax.ts";
import { backward, backwardFrom } from "../../src/optim/gradients.ts";
import { input, persistent, record, type Tensor } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose, golden } from "../support/golden.ts";

const device = await testDevice();
afterAll(() => device.close());

type Nested = readonly (number | Nested)[];
const flat = (x: Nested): number[] => (x as readonly unknown[]).flat(3) as number[];

/** Asserts got = want to `relative` of the largest wanted entry. */
function expectNear(got: ArrayLike<number>, want: ArrayLike<number>, relative: number, what: string): void {
  const scale = Array.from(want).reduce((a, b) => Math.max(a, Math.abs(b)), 1e-30);
  const scaled = (x: ArrayLike<number>): number[] => Array.from(x, (v) => v / scale);
  expectAllClose(scaled(got), scaled(want), relative, what);
}

/** Runs `build` forward and backward from `dy`: the output, then the gradient of each trained tensor. */
async function run(
  build: () => {
    y: Tensor;
    trained: readonly (readonly [Tensor, readonly number[]])[];
    fixed?: readonly (readonly [Tensor, readonly number[]])[];
  },
  dy?: readonly number[],
): Promise<Float32Array[]> {
  const program = await record(device, "golden", () => {
    const { y, trained, fixed = [] } = build();
    const seed = dy && input(y.shape);
    if (seed) backwardFrom(y, seed);
    else if (y.size === 1) backward(y);
    return {
      y,
      trained: trained.map(([t]) => t),
      values: [...trained, ...fixed].map(([, v]) => v),
      tensors: [...trained, ...fixed].map(([t]) => t),
      seed,
      grads: trained.map(([t]) => t.grad!),
    };
  });
  const { y, tensors, values, seed, grads } = program.result;
  tensors.forEach((t, i) => t.write(values[i]!));
  seed?.write(dy!);
  program.run();
  const out = [await y.read()];
  for (const grad of grads) out.push(await grad.read());
  program.dispose();
  return out;
}

function trainable(shape: readonly number[]): Tensor {
  const x = input(shape);
  x.grad = persistent(device, shape);
  return x;
}

interface NormCase {
  kind: string;
  eps: number;
  y: number[][];
  dx: number[][];
  dweight: number[];
  dbias?: number[];
}

describe("norms", () => {
  const g = golden<{ x: number[][]; weight: number[]; bias: number[]; dy: number[][]; cases: NormCase[] }>(
    "norms.json",
  );
  it.each(g.cases)("$kind eps $eps", async ({ kind, eps, y, dx, dweight, dbias }) => {
    const C = g.weight.length;
    const layer = kind === "layer_norm";
    const got = await run(() => {
      const x = trainable([g.x.length, C]);
      const weight = trainable([C]);
      const bias = layer ? trainable([C]) : undefined;
      const out = layer ? layerNorm(x, weight, bias, { eps }) : rmsNorm(x, weight, { eps });
      return {
        y: out,
        trained: [[x, flat(g.x)], [weight, g.weight], ...(bias ? [[bias, g.bias] as const] : [])],
      };
    }, flat(g.dy));
    // Row 1 is offset by 1000: rounded to f32, its inputs are 4e-5 of its spread off.
    for (let r = 0; r < g.x.length; r++) {
      const tolerance = r === 1 ? 1e-4 : 1e-5;
      expectNear(got[0]!.slice(r * C, r * C + C), y[r]!, tolerance, `y row ${r}`);
      expectNear(got[1]!.slice(r * C, r * C + C), dx[r]!, tolerance, `dx row ${r}`);
    }
    expectNear(got[2]!, dweight, 1e-4, "dweight");
    if (dbias) expectNear(got[3]!, dbias, 1e-5, "dbias");
  });
});

describe("softmax", () => {
  const g = golden<
    { x: number[][]; dy: number[][] } & Record<"softmax" | "log_softmax", { y: number[][]; dx: number[][] }>
  >("softmax.json");
  it.each([
    ["softmax", softmax],
    ["log_softmax", logSoftmax],
  ] as const)("%s", async (name, op) => {
    const [y, dx] = await run(() => {
      const x = trainable([g.x.length, g.x[0]!.length]);
      return { y: op(x), trained: [[x, flat(g.x)]] };
    }, flat(g.dy));
    expectAllClose(y!, flat(g[name].y), 1e-6, "y");
    expectAllClose(dx!, flat(g[name].dx), 2e-6, "dx");
  });
});

describe("rope", () => {
  it("in place is the same turn, both ways", async () => {
    const attrs = { theta: 100, rotaryDim: 8, heads: 2 };
    const program = await record(device, "in place", () => {
      const x = trainable([1, 3, 4, 8]);
      const positions = input([1, 3], "u32");
      const dy = input(x.shape);
      const apart = rope(x, positions, attrs);
      const there = rope(addScalar(x, 0), positions, { ...attrs, inPlace: true });
      backwardFrom(apart, addScalar(dy, 0));
      const first = addScalar(x.grad!, 0);
      backwardFrom(there, addScalar(dy, 0));
      return { x, positions, dy, apart, there, first };
    });
    const { x, positions, dy, apart, there, first } = program.result;
    x.write(Array.from({ length: x.size }, (_, i) => Math.sin(i)));
    dy.write(Array.from({ length: x.size }, (_, i) => Math.cos(i)));
    positions.write([0, 5, 9]);
    program.run();
    expect(await there.read()).toEqual(await apart.read());
    expect(await x.grad!.read()).toEqual((await first.read()).map((g) => 2 * g));
  });

  interface RopeCase {
    name: string;
    head_dim: number;
    rotary_dim: number;
    base: number;
    position_ids: number[][];
    x: number[][][][];
    dy: number[][][][];
    y: number[][][][];
    dx: number[][][][];
  }
  const { cases } = golden<{ cases: RopeCase[] }>("rope.json");
  /** [B][H][T][D] of the oracle as our [B, T, H, D]. */
  const ours = (x: number[][][][]): number[] =>
    x.flatMap((b) => b[0]!.flatMap((_, t) => b.flatMap((h) => h[t]!)));
  it.each(cases)("$name", async (c) => {
    const [B, H, T] = [c.x.length, c.x[0]!.length, c.x[0]![0]!.length];
    const [y, dx] = await run(() => {
      const x = trainable([B, T, H, c.head_dim]);
      const positions = input([B, T], "u32");
      const attrs = { theta: c.base, rotaryDim: c.rotary_dim };
      return {
        y: rope(x, positions, attrs),
        trained: [[x, ours(c.x)]],
        fixed: [[positions, flat(c.position_ids)]],
      };
    }, ours(c.dy));
    expectAllClose(y!, ours(c.y), 1e-6, "y");
    expectAllClose(dx!, ours(c.dx), 1e-6, "dx");
  });
});

describe("cross-entropy", () => {
  type Reduced = { loss: number; grad_logits: number[][][] };
  interface CrossEntropyCase {
    name: string;
    temperature: number;
    logits: number[][][];
    targets: number[][];
    mask: number[][];
    per_token_nll: number[][];
    token_mean: Reduced;
    sequence_mean: Reduced;
    sum: Reduced;
  }
  const { cases } = golden<{ cases: CrossEntropyCase[] }>("cross_entropy.json");
  const lengths = (mask: number[][]): number[] => mask.map((row) => row.reduce((a, b) => a + b, 0));
  const weightings = {
    sum: (mask: number[][]) => flat(mask),
    token_mean: (mask: number[][]) => flat(mask).map((m) => m / lengths(mask).reduce((a, b) => a + b, 0)),
    sequence_mean: (mask: number[][]) =>
      mask.flatMap((row, b) => row.map((m) => m / lengths(mask)[b]! / mask.length)),
  };
  const rows = cases.flatMap((c) =>
    (["sum", "token_mean", "sequence_mean"] as const).map((how) => ({ label: `${c.name}, ${how}`, c, how })),
  );
  it.each(rows)("$label", async ({ c, how }) => {
    const [B, T, V] = [c.logits.length, c.logits[0]!.length, c.logits[0]![0]!.length];
    const [loss, dlogits] = await run(() => {
      const logits = trainable([B, T, V]);
      const targets = input([B, T], "u32");
      const weights = input([B, T]);
      const y = crossEntropy(logits, targets, weights, { temperature: c.temperature });
      return {
        y,
        trained: [[logits, flat(c.logits)]],
        fixed: [
          [targets, flat(c.targets)],
          [weights, weightings[how](c.mask)],
        ],
      };
    });
    expectAllClose(loss!, [c[how].loss], 1e-6, "loss");
    expectAllClose(dlogits!, flat(c[how].grad_logits), 1e-6, "dlogits");
  });

  it.each(cases)("per-token log-probabilities: $name", async (c) => {
    const [B, T, V] = [c.logits.length, c.logits[0]!.length, c.logits[0]![0]!.length];
    const [logprobs] = await run(() => {
      const logits = input([B, T, V]);
      const targets = input([B, T], "u32");
      const y = tokenLogprobs(logits, targets, { temperature: c.temperature })[0];
      return {
        y,
        trained: [],
        fixed: [
          [logits, flat(c.logits)],
          [targets, flat(c.targets)],
        ],
      };
    });
    expectAllClose(
      logprobs!,
      flat(c.per_token_nll).map((v) => -v),
      1e-6,
      "logprobs",
    );
  });
});

describe("entropy and full KL", () => {
  interface Full {
    temperature: number;
    kl_per_token: number[][];
    entropy_per_token: number[][];
    grad_entropy_logits_p: number[][][];
  }
  const g = golden<{ mask: number[][]; logits_p: number[][][]; logits_q: number[][][]; full: Full[] }>(
    "kl_entropy.json",
  );
  const shape = [g.mask.length, g.mask[0]!.length, g.logits_p[0]![0]!.length];
  const [B, T] = shape as [number, number];
  const real = flat(g.mask);

  it.each(g.full)(
    "entropy and its gradient at T = $temperature",
    async ({ temperature, entropy_per_token, grad_entropy_logits_p }) => {
      const count = real.reduce((a, b) => a + b, 0);
      const [entropy, dlogits] = await run(
        () => {
          const logits = trainable(shape);
          const y = tokenLogprobs(logits, input([B, T], "u32"), { temperature })[1];
          return { y, trained: [[logits, flat(g.logits_p)]] };
        },
        real.map((m) => m / count),
      );
      expectAllClose(entropy!, flat(entropy_per_token), 1e-6, "entropy");
      expectAllClose(dlogits!, flat(grad_entropy_logits_p), 1e-6, "dlogits");
    },
  );

  it.each(g.full)(
    "KL at T = $temperature, exactly 0 for equal rows",
    async ({ temperature, kl_per_token }) => {
      const [kl] = await run(() => {
        const p = input(shape);
        const q = input(shape);
        return {
          y: fullKl(p, q, { temperature }),
          trained: [],
          fixed: [
            [p, flat(g.logits_p)],
            [q, flat(g.logits_q)],
          ],
        };
      });
      expectAllClose(kl!, flat(kl_per_token), 1e-6, "KL");
      g.logits_p.flat().forEach((row, r) => {
        if (String(row) === String(g.logits_q.flat()[r])) expect(kl![r]).toBe(0);
      });
    },
  );

  it("KL is exactly 0 for bit-equal logits of every row length", async () => {
    for (const V of [3, 64, 172, 130, 512]) {
      const values = Array.from({ length: 20 * V }, (_, i) => Math.fround(Math.sin(i * 12.9898) * 20));
      const [kl] = await run(() => {
        const p = input([20, V]);
        const q = input([20, V]);
        return {
          y: fullKl(p, q, {}),
          trained: [],
          fixed: [
            [p, values],
            [q, values],
          ],
        };
      });
      expect([...kl!]).toEqual(Array(20).fill(0));
    }
  });
});

describe("NaN logits", () => {
  it("come out as NaN in their own row alone, forward and backward", async () => {
    const V = 12;
    for (const op of ["softmax", "logSoftmax", "tokenLogprobs"] as const) {
      const values = Array.from({ length: 3 * V }, (_, i) => (i === V + 5 ? NaN : Math.sin(i)));
      const [y, gradient] = await run(
        () => {
          const x = trainable([3, V]);
          const targets = input([3], "u32");
          const y =
            op === "softmax"
              ? softmax(x)
              : op === "logSoftmax"
                ? logSoftmax(x)
                : tokenLogprobs(x, targets)[0];
          return { y, trained: [[x, values]], fixed: [[targets, [2, 2, 2]]] };
        },
        Array(op === "tokenLogprobs" ? 3 : 3 * V).fill(1) as number[],
      );
      const width = y!.length / 3;
      const rowsWithNaN = (a: ArrayLike<number>, n: number): number[] =>
        [0, 1, 2].filter((r) =>
          Array.from(a)
            .slice(r * n, (r + 1) * n)
            .some(Number.isNaN),
        );
      expect(rowsWithNaN(y!, width), `${op} forward`).toEqual([1]);
      expect(rowsWithNaN(gradient!, V), `${op} backward`).toEqual([1]);
    }
  });
});
