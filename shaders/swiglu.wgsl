// SwiGLU's gate.  gate, up, y, dy, dgate, dup: [n]
//   forward   y = silu(gate) up
//   backward  dgate = dy up silu'(gate), dup = dy silu(gate)
// Both overwrite. Threads stride over vec4s, so that any grid covers any n.

struct Params { n4: u32 }

@group(0) @binding(0) var<storage, read> gate: array<vec4f>;
@group(0) @binding(1) var<storage, read> up: array<vec4f>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dgate: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> dup: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

// exp overflows beyond 88; the sigmoid is 0 or 1 there to the last bit that matters.
fn sigmoid(v: vec4f) -> vec4f { return 1.0 / (1.0 + exp(-clamp(v, vec4f(-87.0), vec4f(87.0)))); }

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    let g = gate[i];
    y[i] = g * sigmoid(g) * up[i];
  }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n4; i += stride) {
    let g = gate[i];
    let d = dy[i];
    let s = sigmoid(g);
    dup[i] = d * g * s;
    dgate[i] = d * up[i] * s * (1.0 + g * (1.0 - s));
  }
}
