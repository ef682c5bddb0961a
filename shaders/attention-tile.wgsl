// Attention for GPUs, without subgroups: rows of both sides in workgroup memory, sums in registers. The formulas, the tensors
// and what is overwritten are those of attention.wgsl.
//   forward_tile  y, lse      query_tile  the queries of dqkv      keys_tile  its keys and values
// A workgroup owns ROWS queries (keys, in keys_tile) and meets the other side COLS rows at a time. A thread owns four of these
// rows, and of them one vec4 column of the sums (D4 = D / 4 columns) and NEAR columns of the scores, which go through workgroup
// memory: ROWS / 4 * D4 threads. Sums run over the other side in order, so that a row does not depend on T or on other rows.

struct Params { B: u32, T: u32, H: u32, G: u32, scale: f32, queries: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> range: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<vec4f>;
@group(0) @binding(5) var<storage, read> stats_in: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;

const NOTHING = -3.0e38;             // the score of a key that is not seen
const THREADS = ROWS / 4 * D4;
const STRIDE = D4 + 1;               // vec4s a row: one is left free, so that rows side by side lie in other banks
const WIDE = COLS + 1;               // the same for the scores

var<workgroup> own_a: array<vec4f, ROWS * STRIDE>;
var<workgroup> own_b: array<vec4f, ROWS * STRIDE>;
var<workgroup> far_a: array<vec4f, COLS * STRIDE>;
var<workgroup> far_b: array<vec4f, COLS * STRIDE>;
var<workgroup> weights: array<f32, ROWS * WIDE>;
var<workgroup> slopes: array<f32, ROWS * WIDE>;
var<workgroup> tops: array<f32, ROWS>;

fn in_qkv(b: u32, t: u32, head: u32) -> u32 {
  return ((b * params.T + min(t, params.T - 1u)) * (params.H + 2u * params.G) + head) * D4;
}

fn in_y(b: u32, t: u32, h: u32) -> u32 { return ((b * params.T + min(t, params.T - 1u)) * params.H + h) * D4; }

fn in_stats(b: u32, t: u32, h: u32) -> u32 { return (b * params.H + h) * params.T + min(t, params.T - 1u); }

fn seen(i: u32, j: u32, real: vec2u) -> bool {
  return j >= real.x && j < real.y && (CAUSAL == 0 || j <= i);
}

@compute @workgroup_size(THREADS)
fn forward_tile(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let h = group.y;
  let b = group.z;
  let key_head = params.H + h / params.queries;
  let real = range[b];
  let first = group.x * ROWS;
  let column = thread % D4;
  let base = thread / D4 * 4u;
  for (var n = thread; n < ROWS * D4; n += THREADS) {
    own_a[n / D4 * STRIDE + n % D4] = params.scale * qkv[in_qkv(b, first + n / D4, h) + n % D4];
  }
  //: for r in 0..4
  var sum$r = vec4f(0.0);
  var mass$r = 0.0;
  var top$r = NOTHING;
  //: end
  var stop = min(real.y, params.T);
  if (CAUSAL == 1) { stop = min(stop, first + ROWS); }
  for (var j = real.x; j < stop; j += COLS) {
    workgroupBarrier();
    for (var n = thread; n < COLS * D4; n += THREADS) {
      far_a[n / D4 * STRIDE + n % D4] = qkv[in_qkv(b, j + n / D4, key_head) + n % D4];
    }
    workgroupBarrier();
    //: for n in 0..4*NEAR
    var s$n = 0.0;
    //: end
    for (var d = 0u; d < D4; d++) {
      //: for r in 0..4
      let a$r = own_a[(base + $(r)u) * STRIDE + d];
      //: end
      //: for n in 0..NEAR
      let k$n = far_a[min(column + $(n)u * D4, COLS - 1u) * STRIDE + d];
      //: for r in 0..4
      s$(4*n+r) += dot(a$r, k$n);
      //: end
      //: end
    }
    //: for n in 0..NEAR
    let c$n = column + $(n)u * D4;
    //: for r in 0..4
    s$(4*n+r) = select(NOTHING, s$(4*n+r), seen(first + base + $(r)u, j + c$n, real));
    if (c$n < COLS) { weights[(base + $(r)u) * WIDE + c$n] = s$(4*n+r); }
    //: end
    //: end
    workgroupBarrier();
    for (var row = thread; row < ROWS; row += THREADS) {
      var high = NOTHING;
      for (var c = 0u; c < COLS; c++) { high = max(high, weights[row * WIDE + c]); }
      tops[row] = high;
    }
    // The keys have been read: their values take their place.
    for (var n = thread; n < COLS * D4; n += THREADS) {
      far_a[n / D4 * STRIDE + n % D4] = qkv[in_qkv(b, j + n / D4, key_head + params.G) + n % D4];
    }
    workgroupBarrier();
    //: for r in 0..4
    let high$r = max(top$r, tops[base + $(r)u]);
    let fade$r = exp(top$r - high$r);
    sum$r *= fade$r;
    mass$r *= fade$r;
    top$r = high$r;
    //: for n in 0..NEAR
    if (c$n < COLS) {
      weights[(base + $(r)u) * WIDE + c$n] = select(0.0, exp(s$(4*n+r) - high$r), s$(4*n+r) > NOTHING);
    }
    //: end
    //: end
    workgroupBarrier();
    for (var c = 0u; c < COLS; c++) {
      let v = far_a[c * STRIDE + column];
      //: for r in 0..4
      let p$r = weights[(base + $(r)u) * WIDE + c];
      sum$r += p$r * v;
      mass$r += p$r;
      //: end
    }
  }
  //: for r in 0..4
  {
    let i = first + base + $(r)u;
    let empty = mass$r == 0.0;
    if (i < params.T) {
      y[in_y(b, i, h) + column] = select(1.0 / mass$r, 0.0, empty) * sum$r;
      if (column == 0u) { lse[in_stats(b, i, h)] = select(top$r + log(mass$r), -NOTHING, empty); }
    }
  }
  //: end
}

@compute @workgroup_size(THREADS)
fn query_tile(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let h = group.y;
  let b = group.z;
  let key_head = params.H + h / params.queries;
  let real = range[b];
  let first = group.x * ROWS;
  let column = thread % D4;
  let base = thread / D4 * 4u;
  for (var n = thread; n < ROWS * D4; n += THREADS) {
    let at = n / D4 * STRIDE + n % D4;
    own_a[at] = params.scale * qkv[in_qkv(b, first + n / D4, h) + n % D4];
    own_b[at] = dy[in_y(b, first + n / D4, h) + n % D4];
  }
  //: for r in 0..4
  let stat$r = stats_in[in_stats(b, first + base + $(r)u, h)];
  var sum$r = vec4f(0.0);
  //: end
  var stop = min(real.y, params.T);
  if (CAUSAL == 1) { stop = min(stop, first + ROWS); }
  for (var j = real.x; j < stop; j += COLS) {
    workgroupBarrier();
    for (var n = thread; n < COLS * D4; n += THREADS) {
      let from_k = in_qkv(b, j + n / D4, key_head) + n % D4;
      far_a[n / D4 * STRIDE + n % D4] = qkv[from_k];
      far_b[n / D4 * STRIDE + n % D4] = qkv[from_k + params.G * D4];
    }
    workgroupBarrier();
    //: for n in 0..4*NEAR
    var s$n = 0.0;
    var t$n = 0.0;
    //: end
    for (var d = 0u; d < D4; d++) {
      //: for r in 0..4
      let a$r = own_a[(base + $(r)u) * STRIDE + d];
      let g$r = own_b[(base + $(r)u) * STRIDE + d];
      //: end
      //: for n in 0..NEAR
      let k$n = far_a[min(column + $(n)u * D4, COLS - 1u) * STRIDE + d];
      let v$n = far_b[min(column + $(n)u * D4, COLS - 1u) * STRIDE + d];
      //: for r in 0..4
      s$(4*n+r) += dot(a$r, k$n);
      t$(4*n+r) += dot(g$r, v$n);
      //: end
      //: end
    }
    //: for n in 0..NEAR
    let c$n = column + $(n)u * D4;
    //: for r in 0..4
    if (c$n < COLS) {
      let p = select(0.0, exp(s$(4*n+r) - stat$r.x), seen(first + base + $(r)u, j + c$n, real));
      slopes[(base + $(r)u) * WIDE + c$n] = p * (t$(4*n+r) - stat$r.y);
    }
    //: end
    //: end
    workgroupBarrier();
    for (var c = 0u; c < COLS; c++) {
      let k = far_a[c * STRIDE + column];
      //: for r in 0..4
      sum$r += slopes[(base + $(r)u) * WIDE + c] * k;
      //: end
    }
  }
  //: for r in 0..4
  if (first + base + $(r)u < params.T) {
    dqkv[in_qkv(b, first + base + $(r)u, h) + column] = params.scale * sum$r;
  }
  //: end
}

@compute @workgroup_size(THREADS)
fn keys_tile(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let g = group.y;
  let b = group.z;
  let real = range[b];
  let first = group.x * ROWS;
  let column = thread % D4;
  let base = thread / D4 * 4u;
  for (var n = thread; n < ROWS * D4; n += THREADS) {
    let at = n / D4 * STRIDE + n % D4;
    let from_k = in_qkv(b, first + n / D4, params.H + g) + n % D4;
    own_a[at] = params.scale * qkv[from_k];
    own_b[at] = qkv[from_k + params.G * D4];
  }
  //: for r in 0..4
  var key_sum$r = vec4f(0.0);
  var value_sum$r = vec4f(0.0);
  //: end
  var start = 0u;
  if (CAUSAL == 1) { start = first; }
  for (var h = g * params.queries; h < (g + 1u) * params.queries; h++) {
    for (var i = start; i < params.T; i += COLS) {
      workgroupBarrier();
      for (var n = thread; n < COLS * D4; n += THREADS) {
        far_a[n / D4 * STRIDE + n % D4] = qkv[in_qkv(b, i + n / D4, h) + n % D4];
        far_b[n / D4 * STRIDE + n % D4] = dy[in_y(b, i + n / D4, h) + n % D4];
      }
      workgroupBarrier();
      //: for n in 0..4*NEAR
      var s$n = 0.0;
      var t$n = 0.0;
      //: end
      for (var d = 0u; d < D4; d++) {
        //: for r in 0..4
        let a$r = own_a[(base + $(r)u) * STRIDE + d];
        let v$r = own_b[(base + $(r)u) * STRIDE + d];
        //: end
        //: for n in 0..NEAR
        let q$n = far_a[min(column + $(n)u * D4, COLS - 1u) * STRIDE + d];
        let g$n = far_b[min(column + $(n)u * D4, COLS - 1u) * STRIDE + d];
        //: for r in 0..4
        s$(4*n+r) += dot(a$r, q$n);
        t$(4*n+r) += dot(v$r, g$n);
        //: end
        //: end
      }
      //: for n in 0..NEAR
      let c$n = column + $(n)u * D4;
      let stat$n = stats_in[in_stats(b, i + c$n, h)];
      //: for r in 0..4
      if (c$n < COLS) {
        let see = i + c$n < params.T && seen(i + c$n, first + base + $(r)u, real);
        let p = select(0.0, exp(s$(4*n+r) - stat$n.x), see);
        weights[(base + $(r)u) * WIDE + c$n] = p;
        slopes[(base + $(r)u) * WIDE + c$n] = p * (t$(4*n+r) - stat$n.y);
      }
      //: end
      //: end
      workgroupBarrier();
      for (var c = 0u; c < COLS; c++) {
        let q = far_a[c * STRIDE + column];
        let d_y = far_b[c * STRIDE + column];
        //: for r in 0..4
        key_sum$r += slopes[(base + $(r)u) * WIDE + c] * q;
        value_sum$r += weights[(base + $(r)u) * WIDE + c] * d_y;
        //: end
      }
    }
  }
  //: for r in 0..4
  if (first + base + $(r)u < params.T) {
    let at = in_qkv(b, first + base + $(r)u, params.H + g) + column;
    dqkv[at] = params.scale * key_sum$r;
    dqkv[at + params.G * D4] = value_sum$r;
  }
  //: end
}
