// What every form of attention shares, joined to its kernels (src/ops/attention-form.ts): the tensors that attention.wgsl
// describes, where things are in them, and who sees whom.

struct Params { B: u32, T: u32, H: u32, G: u32, scale: f32, queries: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> range: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;
@group(0) @binding(4) var<storage, read> y_in: array<vec4f>;
@group(0) @binding(5) var<storage, read> lse_in: array<f32>;
@group(0) @binding(6) var<storage, read> dy: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(8) var<storage, read> stats_in: array<vec2f>;
@group(0) @binding(9) var<storage, read_write> dqkv: array<vec4f>;
@group(0) @binding(10) var<uniform> params: Params;

const NOTHING = -3.0e38;   // the score of a key that is not seen

// Where token t's head begins: a query head h, a key head H + g, a value head H + G + g.
fn in_qkv(b: u32, t: u32, head: u32) -> u32 {
  return ((b * params.T + t) * (params.H + 2u * params.G) + head) * D4;
}

// Where query head h begins in y and dy.
fn in_y(b: u32, t: u32, h: u32) -> u32 { return ((b * params.T + t) * params.H + h) * D4; }

fn seen(i: u32, j: u32, real: vec2u) -> bool {
  return j >= real.x && j < real.y && (CAUSAL == 0 || j <= i);
}

// Of lse and stats.
fn in_stats(b: u32, t: u32, h: u32) -> u32 { return (b * params.H + h) * params.T + t; }

// A token to load; rows beyond the last are computed from it, and not stored.
fn near(t: u32) -> u32 { return min(t, params.T - 1u); }
