// Log-probabilities of given tokens from logits, over rows.  logits, dlogits: [R, N]; targets, logprobs, entropy: [R]
// With z = logits / T, p = softmax(z), H the entropy of p, all in nats:
//   forward       logprobs = log p[target], entropy = H; stats: [R] of (max z, log sum exp(z - max), H, 0)
//   backward      dlogits = (dlogprob (onehot - p) - dentropy p (log p + H)) / T, from the stats
//   backward_in_place  the same over the logits themselves
//   divergence    kl = sum p (log p - log q) of two arrays of logits
//   weigh         loss = - sum over rows of weights logprobs; one workgroup
//   weigh_backward  dlogprobs = - dloss weights, dweights = - dloss logprobs
// All overwrite. Each array of logits is read once: maximum and sums are rescaled when the maximum rises.
// Logits may come in chunks: N of the V columns at a time, from the first to the last, with the sums so far in
// stats_out ([R] of vec4f; [R, 2] for divergence); results are written with the last. Alone, a chunk is both.
// Targets beyond V count as V - 1. A row has L lanes; E is vec4f, or f32 where N is not a multiple of 4.

//: for s in 0..SUBGROUPS
enable subgroups;
//: end

struct Params {
  rows: u32,
  width: u32,     // elements E in a row
  trips: u32,     // ceil(width / L)
  columns: u32,   // N
  from_column: u32,  // of V: the first of the N
  vocabulary: u32,   // V
  first: u32,     // 1 for the first chunk
  last: u32,      // 1 for the last
  inverse_temperature: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<E>;
@group(0) @binding(1) var<storage, read> logits_q: array<E>;
@group(0) @binding(2) var<storage, read> flat: array<f32>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read> stats: array<vec4f>;
@group(0) @binding(5) var<storage, read> dlogprobs: array<f32>;
@group(0) @binding(6) var<storage, read> dentropy: array<f32>;
@group(0) @binding(7) var<storage, read_write> logprobs: array<f32>;
@group(0) @binding(8) var<storage, read_write> entropy: array<f32>;
@group(0) @binding(9) var<storage, read_write> stats_out: array<vec4f>;
@group(0) @binding(10) var<storage, read_write> dlogits: array<E>;
@group(0) @binding(11) var<storage, read_write> kl: array<f32>;
@group(0) @binding(12) var<storage, read> values: array<f32>;
@group(0) @binding(13) var<storage, read> weights: array<f32>;
@group(0) @binding(14) var<storage, read> dloss: array<f32>;
@group(0) @binding(15) var<storage, read_write> loss: array<f32>;
@group(0) @binding(16) var<storage, read_write> dvalues: array<f32>;
@group(0) @binding(17) var<storage, read_write> dweights: array<f32>;
@group(0) @binding(18) var<uniform> params: Params;

// A logarithm whose exponential is 0: differences are cut off there, for 0 times their infinity would be NaN.
const FAINT = -200.0;

// z of an element; LOWEST beyond the row and for -infinity. Not max(): it would turn a NaN into LOWEST and hide it.
fn scaled(logit: E, inside: bool) -> E {
  let z = logit * params.inverse_temperature;
  return select(E(LOWEST), select(z, E(LOWEST), z < E(LOWEST)), inside);
}

// The target's column in this chunk; of another chunk if >= N.
fn target_of(row: u32) -> u32 { return min(targets[row], params.vocabulary - 1u) - params.from_column; }

// 1 where the element's column is the target.
//: for v in 0..VEC
fn one_hot(i: u32, target_id: u32) -> vec4f {
  return vec4f(vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u) == vec4u(target_id));
}
//: end
//: for v in VEC..1
fn one_hot(i: u32, target_id: u32) -> f32 { return f32(i == target_id); }
//: end

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
  var moment = 0.0;  // sum of exp(z - top) (z - top)
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    let z = scaled(logits[base + min(i, params.width - 1u)], i < params.width);
    let high = max(top, highest(z));
    let fade = exp(top - high);
    let d = z - E(high);
    let e = select(E(0.0), exp(d), i < params.width);
    // An impossible token has p log p = 0, and its d may be infinite.
    moment = (moment + sum * max(top - high, FAINT)) * fade + across(e * max(d, E(FAINT)));
    sum = sum * fade + across(e);
    top = high;
  }
  let high = row_max(top);
  let fade = exp(top - high);
  moment = row_sum((moment + sum * max(top - high, FAINT)) * fade);
  sum = row_sum(sum * fade);
  if (row < params.rows && lane == 0u) {
    var now = vec4f(high, sum, moment, LOWEST);  // of this chunk: maximum, sum, moment, z of the target
    let at = target_of(row);
    if (at < params.columns) { now.w = max(flat[row * params.columns + at] * params.inverse_temperature, LOWEST); }
    if (params.first == 0u) { now = joined(stats_out[row], now); }
    if (params.last == 1u) {
      let log_sum = log(now.y);
      let h = log_sum - now.z / now.y;
      logprobs[row] = (now.w - now.x) - log_sum;
      entropy[row] = h;
      now = vec4f(now.x, log_sum, h, 0.0);
    }
    stats_out[row] = now;
  }
}

// The sums of two chunks, as if of one. The maximum of a chunk with a NaN may be any number, its sum is a NaN.
fn joined(a: vec4f, b: vec4f) -> vec4f {
  let high = max(a.x, b.x);
  let fade = exp(vec2f(a.x, b.x) - high);
  let moment = (a.z + a.y * max(a.x - high, FAINT)) * fade.x + (b.z + b.y * max(b.x - high, FAINT)) * fade.y;
  return vec4f(high, a.y * fade.x + b.y * fade.y, moment, max(a.w, b.w));
}

// The gradient of an element of logits from what its row has in common.
struct Row { stat: vec4f, target_id: u32, d_logprob: f32, d_entropy: f32 }

fn row_at(r: u32) -> Row {
  var row = Row(stats[r], target_of(r), 0.0, 0.0);
  if (LOGPROB == 1) { row.d_logprob = dlogprobs[r] * params.inverse_temperature; }
  if (ENTROPY == 1) { row.d_entropy = dentropy[r] * params.inverse_temperature; }
  return row;
}

fn gradient(logit: E, i: u32, row: Row) -> E {
  let log_p = (scaled(logit, true) - E(row.stat.x)) - E(row.stat.y);
  let p = exp(log_p);
  var d = E(0.0);
  if (LOGPROB == 1) { d = row.d_logprob * (one_hot(i, row.target_id) - p); }
  if (ENTROPY == 1) { d -= row.d_entropy * p * (max(log_p, E(FAINT)) + E(row.stat.z)); }
  return d;
}

@compute @workgroup_size(THREADS)
fn backward(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let row = row_of(group, groups, thread);
  let near = min(row, params.rows - 1u);
  let base = near * params.width;
  let own = row_at(near);
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + thread % L;
    if (row < params.rows && i < params.width) { dlogits[base + i] = gradient(logits[base + i], i, own); }
  }
}

@compute @workgroup_size(THREADS)
fn backward_in_place(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let row = row_of(group, groups, thread);
  let near = min(row, params.rows - 1u);
  let base = near * params.width;
  let own = row_at(near);
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + thread % L;
    if (row < params.rows && i < params.width) { dlogits[base + i] = gradient(dlogits[base + i], i, own); }
  }
}

@compute @workgroup_size(THREADS)
fn divergence(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let row = row_of(group, groups, thread);
  let lane = thread % L;
  let near = min(row, params.rows - 1u);
  let base = near * params.width;
  var top = vec2f(LOWEST);  // of p and of q
  var sum = vec2f(0.0);
  var moment = 0.0;         // sum of exp(z_p - top_p) (z_p - z_q)
  for (var k = 0u; k < params.trips; k++) {
    let i = k * L + lane;
    let c = base + min(i, params.width - 1u);
    let inside = i < params.width;
    let z = scaled(logits[c], inside);
    let w = scaled(logits_q[c], inside);
    let high = max(top, vec2f(highest(z), highest(w)));
    let fade = exp(top - high);
    let e = select(E(0.0), exp(z - E(high.x)), inside);
    let f = select(E(0.0), exp(w - E(high.y)), inside);
    moment = moment * fade.x + across(e * (z - w));
    sum = sum * fade + vec2f(across(e), across(f));
    top = high;
  }
  var high = vec2f(row_max(top.x), row_max(top.y));
  let fade = exp(top - high);
  moment = row_sum(moment * fade.x);
  sum = vec2f(row_sum(sum.x * fade.x), row_sum(sum.y * fade.y));
  if (row < params.rows && lane == 0u) {
    if (params.first == 0u) {
      let so = stats_out[2u * row];
      let peak = max(so.xy, high);
      let before = exp(so.xy - peak);
      let here = exp(high - peak);
      moment = stats_out[2u * row + 1u].x * before.x + moment * here.x;
      sum = so.zw * before + sum * here;
      high = peak;
    }
    if (params.last == 1u) {
      kl[row] = (moment / sum.x - (high.x - high.y)) - (log(sum.x) - log(sum.y));
    }
    stats_out[2u * row] = vec4f(high, sum);
    stats_out[2u * row + 1u] = vec4f(moment);
  }
}

const SUMMERS = 256u;
var<workgroup> parts: array<f32, SUMMERS>;

@compute @workgroup_size(SUMMERS)
fn weigh(@builtin(local_invocation_index) thread: u32) {
  var sum = 0.0;
  for (var r = thread; r < params.rows; r += SUMMERS) { sum += weights[r] * values[r]; }
  parts[thread] = sum;
  workgroupBarrier();
  if (thread > 0u) { return; }
  for (var i = 1u; i < SUMMERS; i++) { sum += parts[i]; }
  loss[0] = -sum;
}

@compute @workgroup_size(64)
fn weigh_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  for (var r = id.x + id.y * groups.x * 64u; r < params.rows; r += stride) {
    dvalues[r] = -dloss[0] * weights[r];
    dweights[r] = -dloss[0] * values[r];
  }
}
