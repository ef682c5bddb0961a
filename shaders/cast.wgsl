// Between element types.  x, y: [n], as vec4s of S and of T (constants: vec4f, vec4h).  Overwrites y.
//   y = x, to f16 rounded to nearest; beyond the largest f16 (65504 and half a step) infinity.

struct Params { n4: u32 }

@group(0) @binding(0) var<storage, read> x: array<S>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn convert(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) { y[i] = T(x[i]); }
}
