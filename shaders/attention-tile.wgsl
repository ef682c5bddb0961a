// Attention for GPUs, without subgroups: rows of both sides in workgroup memory, sums in registers. The formulas, the tensors
// and what is overwritten are those of attention.wgsl.
//   forward_tile  y, lse      query_tile  the queries of dqkv      keys_tile  its keys and values
// A workgroup owns ROWS queries (keys, in keys_tile) and meets the other side COLS rows at a time. A thread owns four of these
// rows, and of them one vec4 column of the sums (D4 = D / 4 columns) and NEAR columns of the scores, which go through workgroup
// memory: ROWS / 4 * D4 threads. Sums run over the other side in order, so that a row does not depend on T or on other rows.

const THREADS = ROWS / 4 * D4;
const STRIDE = D4 + 1;               // vec4s a row: one is left free, so that rows side by side lie in other banks
const WIDE = COLS + 1;               // the same for the scores
const OWN = ROWS * STRIDE;           // vec4s of a matrix of the workgroup's rows, and of the other side's: MATRICES of each
const FAR = COLS * STRIDE;

var<workgroup> own: array<vec4f, MATRICES * OWN>;
var<workgroup> far: array<vec4f, MATRICES * FAR>;
var<workgroup> weights: array<f32, ROWS * WIDE>;
var<workgroup> slopes: array<f32, ROWS * WIDE>;
var<workgroup> tops: array<f32, ROWS>;

// Products of four rows of `own` from row `base` on with NEAR rows of `far`, D4 apart from row `column` on; 4 n + r is of row r.
// own_at, far_at: where the matrices begin.
fn products(s: ptr<function, array<f32, 4 * NEAR>>, own_at: u32, far_at: u32, base: u32, column: u32) {
  //: for n in 0..4*NEAR
  (*s)[$n] = 0.0;
  //: end
  for (var d = 0u; d < D4; d++) {
    //: for r in 0..4
    let a$r = own[own_at + (base + $(r)u) * STRIDE + d];
    //: end
    //: for n in 0..NEAR
    let b$n = far[far_at + min(column + $(n)u * D4, COLS - 1u) * STRIDE + d];
    //: for r in 0..4
    (*s)[$(4*n+r)] += dot(a$r, b$n);
    //: end
    //: end
  }
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
    own[n / D4 * STRIDE + n % D4] = params.scale * qkv[in_qkv(b, near(first + n / D4), h) + n % D4];
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
      far[n / D4 * STRIDE + n % D4] = qkv[in_qkv(b, near(j + n / D4), key_head) + n % D4];
    }
    workgroupBarrier();
    var s: array<f32, 4 * NEAR>;
    products(&s, 0u, 0u, base, column);
    //: for n in 0..NEAR
    let c$n = column + $(n)u * D4;
    //: for r in 0..4
    s[$(4*n+r)] = select(NOTHING, s[$(4*n+r)], seen(first + base + $(r)u, j + c$n, real));
    if (c$n < COLS) { weights[(base + $(r)u) * WIDE + c$n] = s[$(4*n+r)]; }
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
      far[n / D4 * STRIDE + n % D4] = qkv[in_qkv(b, near(j + n / D4), key_head + params.G) + n % D4];
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
      weights[(base + $(r)u) * WIDE + c$n] = select(0.0, exp(s[$(4*n+r)] - high$r), s[$(4*n+r)] > NOTHING);
    }
    //: end
    //: end
    workgroupBarrier();
    for (var c = 0u; c < COLS; c++) {
      let v = far[c * STRIDE + column];
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
    own[at] = params.scale * qkv[in_qkv(b, near(first + n / D4), h) + n % D4];
    own[OWN + at] = dy[in_y(b, near(first + n / D4), h) + n % D4];
  }
  //: for r in 0..4
  let stat$r = stats_in[in_stats(b, near(first + base + $(r)u), h)];
  var sum$r = vec4f(0.0);
  //: end
  var stop = min(real.y, params.T);
  if (CAUSAL == 1) { stop = min(stop, first + ROWS); }
  for (var j = real.x; j < stop; j += COLS) {
    workgroupBarrier();
    for (var n = thread; n < COLS * D4; n += THREADS) {
      let at = n / D4 * STRIDE + n % D4;
      let from_k = in_qkv(b, near(j + n / D4), key_head) + n % D4;
      far[at] = qkv[from_k];
      far[FAR + at] = qkv[from_k + params.G * D4];
    }
    workgroupBarrier();
    var s: array<f32, 4 * NEAR>;
    var t: array<f32, 4 * NEAR>;
    products(&s, 0u, 0u, base, column);
    products(&t, OWN, FAR, base, column);
    //: for n in 0..NEAR
    let c$n = column + $(n)u * D4;
    //: for r in 0..4
    if (c$n < COLS) {
      let p = select(0.0, exp(s[$(4*n+r)] - stat$r.x), seen(first + base + $(r)u, j + c$n, real));
      slopes[(base + $(r)u) * WIDE + c$n] = p * (t[$(4*n+r)] - stat$r.y);
    }
    //: end
    //: end
    workgroupBarrier();
    for (var c = 0u; c < COLS; c++) {
      let k = far[c * STRIDE + column];
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
    let from_k = in_qkv(b, near(first + n / D4), params.H + g) + n % D4;
    own[at] = params.scale * qkv[from_k];
    own[OWN + at] = qkv[from_k + params.G * D4];
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
        let at = n / D4 * STRIDE + n % D4;
        far[at] = qkv[in_qkv(b, near(i + n / D4), h) + n % D4];
        far[FAR + at] = dy[in_y(b, near(i + n / D4), h) + n % D4];
      }
      workgroupBarrier();
      var s: array<f32, 4 * NEAR>;
      var t: array<f32, 4 * NEAR>;
      products(&s, 0u, 0u, base, column);
      products(&t, OWN, FAR, base, column);
      //: for n in 0..NEAR
      let c$n = column + $(n)u * D4;
      let stat$n = stats_in[in_stats(b, near(i + c$n), h)];
      //: for r in 0..4
      if (c$n < COLS) {
        let see = i + c$n < params.T && seen(i + c$n, first + base + $(r)u, real);
        let p = select(0.0, exp(s[$(4*n+r)] - stat$n.x), see);
        weights[(base + $(r)u) * WIDE + c$n] = p;
        slopes[(base + $(r)u) * WIDE + c$n] = p * (t[$(4*n+r)] - stat$n.y);
      }
      //: end
      //: end
      workgroupBarrier();
      for (var c = 0u; c < COLS; c++) {
        let q = far[c * STRIDE + column];
        let d_y = far[FAR + c * STRIDE + column];
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
