// Softmax and its logarithm over rows.  x, y, dy, dx: [R, C]
//   forward   y = exp(x - max) / sum exp(x - max); LOGARITHM 1: y = x - max - log(sum)
//   backward  dx = y (dy - sum(dy y)); LOGARITHM 1: dx = dy - exp(y) sum(dy)
// Both overwrite. Maximum and sum come of one read (Milakov, Gimelshein 2018, arXiv 1805.02867, algorithm 3).
// A row has L lanes; E is vec4f, or f32 where C is not a multiple of 4 (src/tensor/rows.ts).

//: for s in 0..SUBGROUPS
enable subgroups;
//: end

struct Params {
  rows: u32,
  width: u32,  // elements E in a row
  trips: u32,  // ceil(width / L)
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> out: array<E>;
@group(0) @binding(2) var<storage, read> dy: array<E>;
@group(0) @binding(3) var<storage, read_write> y: array<E>;
@group(0) @binding(4) var<storage, read_write> dx: array<E>;
@group(0) @binding(5) var<uniform> params: Params;

// LOWEST for -infinity. Not max(): it would turn a NaN into LOWEST and hide it.
fn bounded(v: E) -> E { return select(v, E(LOWEST), v < E(LOWEST)); }

@compute @workgroup_size(THREADS)
fn forward(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let row = row_of(group, groups, thread);
  let lane = thread % L;
  let near = min(row, params.rows - 1u);
  let base = near * params.width;
  var top = LOWEST;
  var sum = 0.0;
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    let v = select(E(LOWEST), bounded(x[base + min(i, params.width - 1u)]), i < params.width);
    let high = max(top, highest(v));
    let term = select(0.0, across(exp(v - E(high))), i < params.width);
    sum = sum * exp(top - high) + term;
    top = high;
  }
  let high = row_max(top);
  sum = row_sum(sum * exp(top - high));
  let scale = 1.0 / sum;
  let shift = log(sum);
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    if (row < params.rows && i < params.width) {
      let v = bounded(x[base + i]) - E(high);
      if (LOGARITHM == 1) { y[base + i] = v - E(shift); } else { y[base + i] = exp(v) * scale; }
    }
  }
}

@compute @workgroup_size(THREADS)
fn backward(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let row = row_of(group, groups, thread);
  let lane = thread % L;
  let near = min(row, params.rows - 1u);
  let base = near * params.width;
  var sums = E(0.0);
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    let c = base + min(i, params.width - 1u);
    var term = dy[c];
    if (LOGARITHM == 0) { term *= out[c]; }
    sums += select(E(0.0), term, i < params.width);
  }
  let sum = row_sum(across(sums));
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    if (row < params.rows && i < params.width) {
      let p = out[base + i];
      if (LOGARITHM == 1) { dx[base + i] = dy[base + i] - exp(p) * sum; } else { dx[base + i] = p * (dy[base + i] - E(sum)); }
    }
  }
}
