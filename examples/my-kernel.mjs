/**
 * A kernel of your own, under the same test and benchmark as ours, from one file outside the package:
 *   vbon bench --kernel examples/my-kernel.mjs --check    right? (float64 reference, central differences)
 *   vbon bench --kernel examples/my-kernel.mjs            and how fast?
 * The op is Swish with a slope, y = x / (1 + exp(-b x)) (Ramachandran et al. 2017). `import { op }` uses it in a model.
 */
import { call, defineOp, empty, kernelFromSource, need, strided } from "vbon";

const kernel = kernelFromSource(
  "swish",
  `
struct Params { n4: u32, b: f32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

fn gate(v: vec4f) -> vec4f { return 1.0 / (1.0 + exp(-params.b * v)); }

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    y[i] = x[i] * gate(x[i]);
  }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    let g = gate(x[i]);
    dx[i] = dy[i] * (g + params.b * x[i] * g * (1.0 - g));
  }
}
`,
);

function run(entry, bindings, x, { b }) {
  const n4 = Math.ceil(x.size / 4);
  call(kernel, entry, { bindings, params: { n4, b }, workgroups: strided(n4), flops: 5 * x.size });
}

/** y = x / (1 + exp(-b x)), elementwise. */
export const op = defineOp({
  name: "swish",
  arity: 1,
  forward([x], attrs) {
    need(Number.isFinite(attrs.b), `swish: b is ${attrs.b}; expected a number`);
    const y = empty(x.shape, "f32", "swish");
    run("forward", { x, y }, x, attrs);
    return y;
  },
  backward({ inputs: [x], attrs, dy: [dy] }) {
    const dx = empty(x.shape, "f32", "dswish");
    run("backward", { x, dy, dx }, x, attrs);
    return [dx];
  },
  reference: ([x], { b }) => [{ shape: x.shape, data: x.data.map((v) => v / (1 + Math.exp(-b * v))) }],
  cases: [
    { inputs: [[1]], attrs: { b: 1 } },
    { inputs: [[3, 5]], attrs: { b: 2.5 }, name: "ragged" },
    { inputs: [[2, 64]], attrs: { b: 0.5 }, name: "two rows" },
  ],
});

/** What to time. Bytes: each input read once, each output written once. */
export const bench = [
  { name: "swish 1,048,576", inputs: [[1 << 20]], attrs: { b: 1 }, bytes: 8 << 20 },
  { name: "swish 1,048,576", inputs: [[1 << 20]], attrs: { b: 1 }, bytes: 20 << 20, backward: true },
];
