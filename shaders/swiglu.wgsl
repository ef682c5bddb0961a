// SwiGLU's gate.  x, dx: [rows, 2N], a row's gate, then its up    y, dy: [rows, N]
//   forward   y = silu(gate) up
//   backward  dgate = dy up silu'(gate), dup = dy silu(gate)
// Both overwrite. E is vec4f, or f32 where N is not a multiple of 4. Threads stride over Es, so that any grid covers any n.

struct Params {
  n: u32,      // Es of y
  width: u32,  // Es in a row of y
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> dy: array<E>;
@group(0) @binding(2) var<storage, read_write> y: array<E>;
@group(0) @binding(3) var<storage, read_write> dx: array<E>;
@group(0) @binding(4) var<uniform> params: Params;

// exp overflows beyond 88; the sigmoid is 0 or 1 there to the last bit that matters.
fn sigmoid(v: E) -> E { return 1.0 / (1.0 + exp(-clamp(v, E(-87.0), E(87.0)))); }

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n; i += stride) {
    let at = i + i / params.width * params.width;
    let gate = x[at];
    y[i] = gate * sigmoid(gate) * x[at + params.width];
  }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.n; i += stride) {
    let at = i + i / params.width * params.width;
    let gate = x[at];
    let d = dy[i];
    let s = sigmoid(gate);
    dx[at] = d * x[at + params.width] * s * (1.0 + gate * (1.0 - s));
    dx[at + params.width] = d * gate * s;
  }
}
