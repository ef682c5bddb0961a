// AdamW with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), over blocks of an arena.
//   g = grad clip[1];  m = β₁m + (1-β₁)g;  v = β₂v + (1-β₂)g²
//   θ = θ - lr wd θ - lr/(1-β₁ᵗ) m / (√v / √(1-β₂ᵗ) + eps);  grad = 0
// clip[1] < 0 skips the step: grad = 0 and nothing else changes.
// In place: values, grads, m, v.  scalars [last + 1]: (lr wd, lr/(1-β₁ᵗ), 1/√(1-β₂ᵗ), 0), written before every run; row k is
// for the t of a run in which clip[3] = k steps were skipped.
// table [blocks]: (first vec4, elements, decay, 0).  rest_i = 1 - βᵢ, taken before rounding to f32.

struct Params { first: u32, blocks: u32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, eps: f32, last: u32 }

@group(0) @binding(0) var<storage, read_write> values: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> grads: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> table: array<vec4u>;
@group(0) @binding(5) var<storage, read> scalars: array<vec4f>;
@group(0) @binding(6) var<storage, read> clip: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(64)
fn update(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let b = group.x + group.y * groups.x;
  if (b >= params.blocks) { return; }
  let block = table[params.first + b];
  let step = scalars[min(u32(clip[3]), params.last)];
  let decay = step.x * f32(block.z);
  let factor = clip[1];
  let skip = factor < 0.0;
  for (var k = thread; k < (block.y + 3u) / 4u; k += 64u) {
    let i = block.x + k;
    if (skip) {
      grads[i] = vec4f(0.0); // not times 0: that of a NaN is NaN
      continue;
    }
    // Lanes past the tensor's end may hold anything: their gradient counts as zero.
    let live = vec4u(4u * k) + vec4u(0u, 1u, 2u, 3u) < vec4u(block.y);
    let g = select(vec4f(0.0), grads[i] * factor, live);
    let m_new = params.beta1 * m[i] + params.rest1 * g;
    let v_new = params.beta2 * v[i] + params.rest2 * g * g;
    let old = values[i];
    values[i] = old - decay * old - step.y * m_new / (sqrt(v_new) * step.z + params.eps);
    m[i] = m_new;
    v[i] = v_new;
    grads[i] = vec4f(0.0);
  }
}
