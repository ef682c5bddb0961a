/** Linear layers, embeddings and pointwise functions against an independent float64 oracle. */
import { afterAll, describe, expect, it } from "vitest";
import { add, addScalar, maximum, minimum, sub } from "../../src/ops/binary.ts";
import { embedding } from "../../src/ops/embedding.ts";
import { zeros } from "../../src/ops/copy.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { clip } from "../../src/ops/select.ts";
import { swiglu } from "../../src/ops/swiglu.ts";
import { exp, gelu, log, neg, relu, sigmoid, silu, tanh } from "../../src/ops/unary.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { input, persistent, record, type Shape, type Tensor } from "../../src/tensor/tensor.ts";
import { worstOf } from "../../src/bench/check.ts";
import { testDevice } from "../support/device.ts";
import { golden } from "../support/golden.ts";

const device = await testDevice();
afterAll(() => device.close());

type Nested = readonly (number | Nested)[];

function shapeOf(x: Nested): number[] {
  const shape: number[] = [];
  for (let at: number | Nested | undefined = x; Array.isArray(at); at = at[0]) shape.push(at.length);
  return shape;
}

const flat = (x: Nested): number[] => (x as readonly unknown[]).flat(3) as number[];

/** The oracle's tolerance: 1e-5 of the largest entry. */
function expectNear(got: ArrayLike<number>, want: Nested, what: string): void {
  const worst = worstOf(got, flat(want), 1e-5);
  expect(worst.error <= worst.tolerance, `${what}: ${JSON.stringify(worst)}`).toBe(true);
}

interface Trained {
  readonly value: Nested;
  readonly gradient: Nested;
}

function trainable(shape: Shape): Tensor {
  const t = input(shape);
  t.grad = persistent(device, shape);
  return t;
}

/** Checks op(...inputs) against `y`, and every input's gradient from `dy`; `ids` are inputs without one, put last. */
async function check(
  op: (...t: Tensor[]) => Tensor,
  inputs: readonly Trained[],
  dy: Nested,
  y: Nested,
  ids: readonly Nested[] = [],
): Promise<void> {
  const program = await record(device, "golden", () => {
    const trained = inputs.map(({ value }) => trainable(shapeOf(value)));
    const indices = ids.map((value) => input(shapeOf(value), "u32"));
    const seed = input(shapeOf(dy));
    const out = op(...trained, ...indices);
    backwardFrom(out, seed);
    return { trained, indices, seed, out, grads: trained.map((t) => t.grad!) };
  });
  const { trained, indices, seed, out, grads } = program.result;
  trained.forEach((t, i) => t.write(flat(inputs[i]!.value)));
  indices.forEach((t, i) => t.write(flat(ids[i]!)));
  seed.write(flat(dy));
  program.run();
  expect(out.shape).toEqual(shapeOf(y));
  expectNear(await out.read(), y, "value");
  for (const [i, grad] of grads.entries())
    expectNear(await grad.read(), inputs[i]!.gradient, `gradient of input ${i}`);
  program.dispose();
}

interface Layer {
  readonly x: Nested;
  readonly weight: Nested;
  readonly bias: Nested;
  readonly dy: Nested;
  readonly y: Nested;
  readonly dx: Nested;
  readonly dweight: Nested;
  readonly dbias: Nested;
}

interface Layers {
  readonly linear: Layer;
  readonly conv1d: Layer;
  readonly embedding: {
    readonly table: Nested;
    readonly ids: Nested;
    readonly dy: Nested;
    readonly y: Nested;
    readonly dtable: Nested;
  };
  readonly swiglu: {
    readonly gate: Nested;
    readonly up: Nested;
    readonly dy: Nested;
    readonly y: Nested;
    readonly dgate: Nested;
    readonly dup: Nested;
  };
}

describe("layers", () => {
  const layers = golden<Layers>("ops/linear_embedding.json");
  const parts = ({ x, weight, bias, dx, dweight, dbias }: Layer): Trained[] => [
    { value: x, gradient: dx },
    { value: weight, gradient: dweight },
    { value: bias, gradient: dbias },
  ];

  it("a linear layer with its weight as [out, in]", async () => {
    const { linear } = layers;
    await check((x, w, b) => matmul(x!, w!, b!, { transposeB: true }), parts(linear), linear.dy, linear.y);
  });

  it("GPT-2's Conv1D: the weight as [in, out]", async () => {
    const { conv1d } = layers;
    await check((x, w, b) => matmul(x!, w!, b!), parts(conv1d), conv1d.dy, conv1d.y);
  });

  it("a bias added by broadcasting has the bias's gradient", async () => {
    const { conv1d } = layers;
    await check((x, w, b) => add(matmul(x!, w!, undefined), b!), parts(conv1d), conv1d.dy, conv1d.y);
  });

  it("an embedding with repeated ids", async () => {
    const { table, ids, dy, y, dtable } = layers.embedding;
    await check((w, i) => embedding(w!, i!), [{ value: table, gradient: dtable }], dy, y, [ids]);
  });

  it("SwiGLU", async () => {
    const { gate, up, dgate, dup, dy, y } = layers.swiglu;
    const inputs = [
      { value: gate, gradient: dgate },
      { value: up, gradient: dup },
    ];
    await check((g, u) => swiglu(g!, u!), inputs, dy, y);
  });
});

interface Pointwise {
  readonly x: readonly number[];
  readonly functions: Readonly<
    Record<string, { readonly y: readonly number[]; readonly dydx: readonly number[] }>
  >;
}

/** k3 of a log ratio, as the oracle has it: the ratio is held below 30. */
function expMinus1MinusX(x: Tensor): Tensor {
  const held = clip(x, -Infinity, 30);
  return sub(addScalar(exp(held), -1), held);
}

/** Stable where exp(-x) would overflow; minimum's half gradient at equal arguments is the right one at 0. */
const logSigmoid = (x: Tensor): Tensor =>
  sub(minimum(x, zeros([1])), log(addScalar(exp(neg(maximum(x, neg(x)))), 1)));

/** Functions of the oracle by our ops; those that are no op of their own are composed. */
const FUNCTIONS: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  gelu_exact: (x) => gelu(x),
  gelu_new_tanh: (x) => gelu(x, "gelu_tanh"),
  silu,
  relu,
  sigmoid,
  tanh,
  log_sigmoid: logSigmoid,
  exp_minus_1_minus_x: expMinus1MinusX,
};

describe("pointwise functions", () => {
  const { x, functions } = golden<Pointwise>("ops/pointwise.json");
  // Errors are relative to the largest entry: small arguments once more by themselves.
  for (const largest of [100, 2]) {
    const chosen = x.map((_, i) => i).filter((i) => Math.abs(x[i]!) <= largest);
    const pick = (all: readonly number[]): number[] => chosen.map((i) => all[i]!);
    it.each(Object.entries(FUNCTIONS))(`%s up to ${largest}`, async (name, f) => {
      const { y, dydx } = functions[name]!;
      await check(
        (t) => f(t!),
        [{ value: pick(x), gradient: pick(dydx) }],
        chosen.map(() => 1),
        pick(y),
      );
    });
  }
});
