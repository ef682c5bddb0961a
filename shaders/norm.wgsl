// LayerNorm and RMSNorm over rows.  x, y, dy, dx: [R, C]; weight, bias, dweight, dbias: [C]
//   forward           y = (x - mean) rstd weight + bias, with rstd = 1 / sqrt(var + eps), var the mean of (x - mean)²;
//                     RMSNorm (CENTER 0): mean = 0 and no bias.  stats: [R] of (mean, what the
//                     mean lost when it was rounded, rstd): a row far from zero is centred exactly
//   backward_x        dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy weight; RMSNorm: without mean(g); + around where ADD is 1
//   backward_partial  partial[slab] = sums over the slab's rows of dy xhat, and of dy where BIAS is 1
//   backward_sum      dweight, dbias = sums of the partials, slab by slab; added to them where ADD is 1
// All others overwrite. A row has L lanes; E is vec4f, or f32 where C is not a multiple of 4 (src/tensor/rows.ts).

//: for s in 0..SUBGROUPS
enable subgroups;
//: end

struct Params {
  rows: u32,
  width: u32,    // elements E in a row
  trips: u32,    // ceil(width / L)
  columns: f32,  // C
  eps: f32,
  slab: u32,     // rows a slab
  zero: u32,     // 0
  slabs: u32,
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> weight: array<E>;
@group(0) @binding(2) var<storage, read> bias: array<E>;
@group(0) @binding(3) var<storage, read> dy: array<E>;
@group(0) @binding(4) var<storage, read> stats: array<vec4f>;
@group(0) @binding(5) var<storage, read> sums: array<E>;
@group(0) @binding(6) var<storage, read_write> y: array<E>;
@group(0) @binding(7) var<storage, read_write> stats_out: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> dx: array<E>;
@group(0) @binding(9) var<storage, read_write> partial: array<E>;
@group(0) @binding(10) var<storage, read_write> dweight: array<E>;
@group(0) @binding(11) var<storage, read_write> dbias: array<E>;
@group(0) @binding(12) var<storage, read> around: array<E>;
@group(0) @binding(13) var<uniform> params: Params;

fn first_lane(v: f32) -> f32 {
  var first = v;
  //: for s in 0..SUBGROUPS
  first = subgroupBroadcast(first, 0u);
  //: end
  return first;
}

@compute @workgroup_size(THREADS)
fn forward(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let row = row_of(group, groups, thread);
  let lane = thread % L;
  let base = min(row, params.rows - 1u) * params.width;
  // One read: each lane keeps a running mean and sum of squared deviations (Welford 1962), merged below.
  var mean = E(0.0);
  var square = E(0.0);
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    let v = x[base + min(i, params.width - 1u)];
    if (CENTER == 1) {
      let delta = select(E(0.0), v - mean, i < params.width);
      mean += delta * (1.0 / f32(k + 1u));
      square += delta * (v - mean);
    } else {
      square += select(E(0.0), v * v, i < params.width);
    }
  }
  var center = 0.0;
  var rest = 0.0;
  if (CENTER == 1) {
    // Around one lane's mean, so that a constant row has exactly that mean.
    let seen = f32((params.width + L - 1u - lane) / L);
    let pivot = first_lane(vec4f(mean).x);
    let shift = row_sum(across((mean - E(pivot)) * seen)) / params.columns;
    // By way of bits, with a 0 that the compiler does not know: NVIDIA's takes what follows for 0.
    center = bitcast<f32>(bitcast<u32>(pivot + shift) ^ params.zero);
    rest = (pivot - center) + shift;
    square += seen * (mean - E(center)) * (mean - E(center));
  }
  let rstd = 1.0 / sqrt(row_sum(across(square)) / params.columns + params.eps);
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    if (row < params.rows && i < params.width) {
      var out = (x[base + i] - E(center) - E(rest)) * rstd * weight[i];
      if (BIAS == 1) { out += bias[i]; }
      y[base + i] = out;
    }
  }
  if (row < params.rows && lane == 0u) { stats_out[row] = vec4f(center, rest, rstd, 0.0); }
}

@compute @workgroup_size(THREADS)
fn backward_x(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let row = row_of(group, groups, thread);
  let lane = thread % L;
  let near = min(row, params.rows - 1u);
  let base = near * params.width;
  let stat = stats[near];
  var sum_g = E(0.0);
  var sum_gx = E(0.0);
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    let c = min(i, params.width - 1u);
    let g = select(E(0.0), dy[base + c] * weight[c], i < params.width);
    sum_g += g;
    sum_gx += g * ((x[base + c] - E(stat.x) - E(stat.y)) * stat.z);
  }
  var mean_g = 0.0;
  if (CENTER == 1) { mean_g = row_sum(across(sum_g)) / params.columns; }
  let mean_gx = row_sum(across(sum_gx)) / params.columns;
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    if (row < params.rows && i < params.width) {
      let xhat = (x[base + i] - E(stat.x) - E(stat.y)) * stat.z;
      var out = stat.z * (dy[base + i] * weight[i] - E(mean_g) - xhat * mean_gx);
      //: for a in 0..ADD
      out += around[base + i];
      //: end
      dx[base + i] = out;
    }
  }
}

@compute @workgroup_size(64)
fn backward_partial(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let item = id.x + id.y * groups.x * 64u;
  let slab = item / params.width;
  if (slab >= params.slabs) { return; }
  let i = item % params.width;
  var sum_weight = E(0.0);
  var sum_bias = E(0.0);
  for (var r = slab * params.slab; r < min((slab + 1u) * params.slab, params.rows); r++) {
    let d = dy[r * params.width + i];
    let stat = stats[r];
    sum_weight += d * ((x[r * params.width + i] - E(stat.x) - E(stat.y)) * stat.z);
    if (BIAS == 1) { sum_bias += d; }
  }
  partial[slab * params.width * (1u + BIAS) + i] = sum_weight;
  if (BIAS == 1) { partial[(slab * 2u + 1u) * params.width + i] = sum_bias; }
}

@compute @workgroup_size(64)
fn backward_sum(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= params.width) { return; }
  var sum_weight = E(0.0);
  var sum_bias = E(0.0);
  for (var slab = 0u; slab < params.slabs; slab++) {
    sum_weight += sums[slab * params.width * (1u + BIAS) + i];
    if (BIAS == 1) { sum_bias += sums[(slab * 2u + 1u) * params.width + i]; }
  }
  //: for a in 0..ADD
  sum_weight += dweight[i];
  //: end
  dweight[i] = sum_weight;
  if (BIAS == 0) { return; }
  //: for a in 0..ADD
  sum_bias += dbias[i];
  //: end
  dbias[i] = sum_bias;
}
