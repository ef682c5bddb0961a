// Elementwise functions of two arguments that broadcast to the result's shape, as NumPy's do.
//   forward, forward_any     result = f(a, b)
//   gradient, gradient_any   result = dy df/da, or dy df/db where SIDE = 1       dy: the result's shape
//   affine                   result = scale a + shift
// Everything overwrites `result`.  KIND (constant): which f; the numbers are NAMES of src/ops/binary.ts.
// The plain forms walk over vec4s of a result [R, C]; A and B (constants) say how an operand is kept:
//   0 whole [R, C]    1 row [C], repeated    2 one number    3 column [R, 1]
// 1 and 3 want C to be a multiple of 4; n4 counts the result's vec4s and c4 those of a row.
// The _any forms walk over n single numbers in up to five dimensions d, with strides a and b (0 = repeated).

struct Params {
  n4: u32, c4: u32, n: u32,
  scale: f32, shift: f32,
  d0: u32, d1: u32, d2: u32, d3: u32, d4: u32,
  a0: u32, a1: u32, a2: u32, a3: u32, a4: u32,
  b0: u32, b1: u32, b2: u32, b3: u32, b4: u32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(4) var<storage, read> a_flat: array<f32>;
@group(0) @binding(5) var<storage, read> b_flat: array<f32>;
@group(0) @binding(6) var<storage, read> dy_flat: array<f32>;
@group(0) @binding(7) var<storage, read_write> result_flat: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

fn f(u: vec4f, v: vec4f) -> vec4f {
  switch KIND {
    case 0: { return u + v; }
    case 1: { return u - v; }
    case 2: { return u * v; }
    case 3: { return u / v; }
    case 4: { return min(u, v); }
    default: { return max(u, v); }
  }
}

// df/du or df/dv; where minimum and maximum have equal arguments, each gets half.
fn df(u: vec4f, v: vec4f) -> vec4f {
  switch KIND {
    case 0: { return vec4f(1.0); }
    case 1: { return vec4f(select(1.0, -1.0, SIDE == 1)); }
    case 2: { if (SIDE == 1) { return u; } return v; }
    case 3: { if (SIDE == 1) { return -u / (v * v); } return 1.0 / v; }
    default: {
      let less = vec4f(u < v) + 0.5 * vec4f(u == v);
      if ((KIND == 4) == (SIDE == 0)) { return less; }
      return 1.0 - less;
    }
  }
}

fn left(i: u32) -> vec4f {
  switch A {
    case 0: { return a[i]; }
    case 1: { return a[i % params.c4]; }
    case 2: { return vec4f(a[0][0]); }
    default: { let r = i / params.c4; return vec4f(a[r / 4u][r % 4u]); }
  }
}

fn right(i: u32) -> vec4f {
  switch B {
    case 0: { return b[i]; }
    case 1: { return b[i % params.c4]; }
    case 2: { return vec4f(b[0][0]); }
    default: { let r = i / params.c4; return vec4f(b[r / 4u][r % 4u]); }
  }
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    result[i] = f(left(i), right(i));
  }
}

@compute @workgroup_size(64)
fn gradient(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    result[i] = dy[i] * df(left(i), right(i));
  }
}

@compute @workgroup_size(64)
fn affine(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    result[i] = params.scale * a[i] + params.shift;
  }
}

// Where element i of the result comes from in a and b.
fn places(i: u32) -> vec2u {
  let p = params;
  var rest = i;
  var at = rest % p.d4 * vec2u(p.a4, p.b4);
  rest /= p.d4;
  at += rest % p.d3 * vec2u(p.a3, p.b3);
  rest /= p.d3;
  at += rest % p.d2 * vec2u(p.a2, p.b2);
  rest /= p.d2;
  at += rest % p.d1 * vec2u(p.a1, p.b1);
  return at + rest / p.d1 * vec2u(p.a0, p.b0);
}

@compute @workgroup_size(64)
fn forward_any(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n; i += stride) {
    let at = places(i);
    result_flat[i] = f(vec4f(a_flat[at[0]]), vec4f(b_flat[at[1]]))[0];
  }
}

@compute @workgroup_size(64)
fn gradient_any(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n; i += stride) {
    let at = places(i);
    result_flat[i] = dy_flat[i] * df(vec4f(a_flat[at[0]]), vec4f(b_flat[at[1]]))[0];
  }
}
