// Moving elements: transpose, slice, concat, repeat.  T (constant): u32, or vec4u where four neighbours stay together;
// bits are moved, so that any 4-byte element type goes.  All sizes, strides and places count Ts.
//   copy     result[t_start + i . t] = source[s_start + i . s]   for i in a box of `count` Ts with sizes d0..d4 (outer first)
//   zeros    result[i] = 0                                for i < count
//   add      result[i] = result[i] + source[i]            for i < count; T is vec4f
// The first two overwrite the places they name and leave the others alone: one result may be filled by several dispatches.

struct Params {
  count: u32, s_start: u32, t_start: u32,
  d0: u32, d1: u32, d2: u32, d3: u32, d4: u32,
  s0: u32, s1: u32, s2: u32, s3: u32, s4: u32,
  t0: u32, t1: u32, t2: u32, t3: u32, t4: u32,
}

@group(0) @binding(0) var<storage, read> source: array<T>;
@group(0) @binding(1) var<storage, read_write> result: array<T>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  let p = params;
  for (var i = id.x + id.y * groups.x * 64u; i < p.count; i += stride) {
    var rest = i;
    var at = vec2u(p.s_start, p.t_start) + rest % p.d4 * vec2u(p.s4, p.t4);
    rest /= p.d4;
    at += rest % p.d3 * vec2u(p.s3, p.t3);
    rest /= p.d3;
    at += rest % p.d2 * vec2u(p.s2, p.t2);
    rest /= p.d2;
    at += rest % p.d1 * vec2u(p.s1, p.t1);
    at += rest / p.d1 * vec2u(p.s0, p.t0);
    result[at[1]] = source[at[0]];
  }
}

@compute @workgroup_size(64)
fn zeros(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.count; i += stride) {
    result[i] = T(0u);
  }
}

@compute @workgroup_size(64)
fn add(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.count; i += stride) {
    result[i] += source[i];
  }
}
