/** Two products with an activation between: it is computed where its argument is made, and so is its derivative. */
import { type Backward, type Case, defineOp, need, type NdArray, type Op } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";
import { REFERENCES, type UnaryKind } from "./activation.ts";
import { matmulReference } from "./matmul.ts";
import { finishingForms, gradientA, gradientsOfMap, product } from "./product.ts";

/** The activation, how weights are stored, and (for tests) the name of the products' form. */
export interface MlpAttrs {
  readonly kind: UnaryKind;
  /** Weights are [outputs, inputs], as torch's Linear has them. */
  readonly transposeB?: boolean;
  readonly variant?: string;
}

type Inputs = [
  x: Tensor,
  up: Tensor,
  upBias: Tensor | undefined,
  down: Tensor,
  downBias: Tensor | undefined,
  residual: Tensor | undefined,
];

/** The output, and for the way back the activation's argument and value, [R, I] both. */
function forward([x, up, upBias, down, downBias, plus]: Inputs, { kind, ...attrs }: MlpAttrs): Tensor[] {
  need(
    [x, up, down].every(({ shape, dtype }) => shape.length === 2 && dtype === "f32"),
    `mlp: wants f32 matrices; x is ${x.dtype} [${x.shape}], the weights are [${up.shape}] and [${down.shape}]`,
  );
  const activated = empty([x.dim(0), up.dim(attrs.transposeB ? 0 : 1)], "f32", kind);
  const inner = product(x, up, upBias, attrs, { activated, kind });
  return [product(activated, down, downBias, attrs, { plus }), inner, activated];
}

function backward({
  inputs,
  outputs,
  attrs: { kind, ...attrs },
  dy: [dy],
  needs,
  into,
}: Backward<Inputs, MlpAttrs>) {
  const [x, up, upBias, down, downBias] = inputs;
  const [, inner, activated] = outputs as [Tensor, Tensor, Tensor];
  const downs = gradientsOfMap(activated, down, dy!, attrs, {
    needs: [needs[3], downBias && needs[4]],
    into: [into[3], into[4]],
  });
  const residual = needs[5] ? dy : undefined;
  if (!needs[0] && !needs[1] && !needs[2]) return [undefined, undefined, undefined, ...downs, residual];
  const dinner = gradientA(down, dy!, attrs, { slope: inner, kind });
  return [
    needs[0] ? gradientA(up, dinner, attrs) : undefined,
    ...gradientsOfMap(x, up, dinner, attrs, {
      needs: [needs[1], upBias && needs[2]],
      into: [into[1], into[2]],
    }),
    ...downs,
    residual,
  ];
}

function reference(
  [x, up, upBias, down, downBias, residual]: readonly (NdArray | undefined)[],
  { kind, ...attrs }: MlpAttrs,
): NdArray[] {
  const inner = matmulReference(x!, up!, upBias, attrs);
  const activated = { shape: inner.shape, data: inner.data.map(REFERENCES[kind]) };
  const { shape, data } = matmulReference(activated, down!, downBias, attrs);
  return [{ shape, data: data.map((v, i) => v + (residual?.data[i] ?? 0)) }];
}

/** R rows of C, I within. */
const caseOf = (
  kind: UnaryKind,
  [R, C, I]: readonly [number, number, number],
  transposeB: boolean,
  whole = true,
): Case<MlpAttrs> => ({
  name: `${kind} [${R},${C}] by ${I}${transposeB ? " nt" : ""}${whole ? "" : ", no biases, no residual"}`,
  inputs: [
    [R, C],
    transposeB ? [I, C] : [C, I],
    whole ? [I] : undefined,
    transposeB ? [C, I] : [I, C],
    whole ? [C] : undefined,
    whole ? [R, C] : undefined,
  ],
  attrs: { kind, transposeB },
});

/**
 * y = f(x U + u) D + d + residual. x: [R, C], U: [C, I], D: [I, C] ([I, C] and [C, I] with transposeB), u: [I] and d: [C] or
 * none, residual: [R, C] or none; f: `kind`; returns [R, C]. f is computed by the kernel of the first product, and on the way
 * back f' by that which makes the gradient of f's value. Bits are those of the ops one by one.
 * @throws ShapeError when sizes do not fit, or something is f16
 */
export const mlp: Op<Inputs, MlpAttrs> = defineOp<Inputs, MlpAttrs>({
  name: "mlp",
  arity: 6,
  saves: true,
  forward,
  backward,
  reference,
  variants: (device) => finishingForms(device),
  roundingVariants: (device) => finishingForms(device, true),
  cases: [
    caseOf("gelu_tanh", [3, 8, 12], false),
    caseOf("gelu", [3, 8, 12], true),
    caseOf("gelu_tanh", [2, 5, 7], false, false),
    caseOf("gelu", [2, 7, 3], true, false),
    caseOf("silu", [2, 8, 132], false),
    caseOf("gelu_tanh", [2, 132, 8], true),
  ],
});
