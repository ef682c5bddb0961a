// Elementwise functions of one argument.  x, y, dx, dy: [n]
//   forward   y = f(x)                      overwrites y
//   backward  dx = dy f'(x)                 overwrites dx
// f and its derivative are those of activation.wgsl.
// Threads stride over vec4s, so that any grid covers any n.

struct Params { n4: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    y[i] = f(x[i]);
  }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    dx[i] = dy[i] * df(x[i]);
  }
}
