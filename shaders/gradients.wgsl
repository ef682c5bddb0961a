// How gradients start and meet; that they end in a parameter's is copy.add.  All arrays [n], as vec4s.
//   ones  y = 1           overwrites y
//   seed  y = scale[0]    overwrites y
//   add   y = a + b       overwrites y

struct Params { n4: u32 }

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn ones(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) { y[i] = vec4f(1.0); }
}

@compute @workgroup_size(64)
fn seed(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) { y[i] = vec4f(scale[0]); }
}

@compute @workgroup_size(64)
fn add(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) { y[i] = a[i] + b[i]; }
}
