// Attention on subgroup matrices (tensor cores): operands rounded to T, sums f32. The formulas, the tensors and what is overwritten
// are those of attention.wgsl.
//   forward_matrix  y, lse      query_matrix  the queries of dqkv      keys_matrix  its keys and values
// The unit multiplies [MM, KK] by [KK, NN]. A workgroup owns SUBS x MM queries (keys, in keys_matrix), each subgroup of S lanes MM of
// them, in registers as the unit's left operands; it meets the other side COLS rows at a time, which lie in workgroup memory. A
// product of the two, the scores, goes through workgroup memory too: there each lane has EACH of its subgroup's, always the same, makes
// weights of them, and those are the left operands of the second product, whose sums stay in registers.
// As the unit cannot rescale a row, forward walks over the keys twice: for lse, and with it for y.
// CELL is vec4<T> and W 4; where the unit's dialect loads from arrays of scalars alone, T and 1.
// Sums run over the other side in order, so that a row does not depend on T or on other rows.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const ROWS = SUBS * MM;
const THREADS = SUBS * S;
const STRIDE = 4 * D4 + 8;        // values of a row of `far`, some of them free, so that rows side by side lie in other banks
const FAR = COLS * STRIDE;
const WIDE = COLS + 4;            // the same of the scores, and of the weights
const NARROW = COLS + 8;
const WEIGHTS = ROWS * NARROW;

var<workgroup> far: array<CELL, MATRICES * FAR / W>;
var<workgroup> scores: array<f32, ROWS * WIDE>;
var<workgroup> weights: array<T, OUTS * WEIGHTS>;
var<workgroup> row_stats: array<vec2f, max(ROWS, COLS)>;

// Where a lane's n-th score is: its row among the subgroup's, its column.
fn row_of(n: u32, lane: u32) -> u32 { return (n * S + lane) / COLS; }
fn column_of(n: u32, lane: u32) -> u32 { return (n * S + lane) % COLS; }

// Puts a vec4 in its place in a matrix of `far`.
fn keep(matrix: u32, row: u32, d: u32, x: vec4f) {
  let at = matrix * FAR + row * STRIDE + d * 4u;
  let values = vec4<T>(x);
  //: for whole in 0..W/4
  far[at / 4u] = values;
  //: end
  //: for e in 0..4-W/4*4
  far[at + $(e)u] = values[$e];
  //: end
}

// COLS tokens' vectors of one head, from t on, times `factor`.
fn bring(matrix: u32, b: u32, t: u32, head: u32, factor: f32, thread: u32) {
  for (var n = thread; n < COLS * D4; n += THREADS) {
    keep(matrix, n / D4, n % D4, factor * qkv[in_qkv(b, near(t + n / D4), head) + n % D4]);
  }
}

fn bring_dy(matrix: u32, b: u32, t: u32, head: u32, thread: u32) {
  for (var n = thread; n < COLS * D4; n += THREADS) {
    keep(matrix, n / D4, n % D4, dy[in_y(b, near(t + n / D4), head) + n % D4]);
  }
}

// The vec4 of a subgroup's matrix of sums that a lane takes from the scores' memory.
fn taken(corner: u32, e: u32) -> vec4f {
  let at = corner + e / NN * WIDE + e % NN;
  return vec4f(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);
}

// Copies a subgroup's d-th matrix of sums, times `factor`, from the scores' memory to a head's gradients, token `from_t` first.
fn give(b: u32, from_t: u32, head: u32, d: u32, factor: f32, corner: u32, lane: u32) {
  for (var e = lane * 4u; e < MM * NN; e += S * 4u) {
    let t = from_t + e / NN;
    if (t < params.T) { dqkv[in_qkv(b, t, head) + (d * NN + e % NN) / 4u] = factor * taken(corner, e); }
  }
}

@compute @workgroup_size(THREADS)
fn forward_matrix(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let h = group.y;
  let b = group.z;
  let key_head = params.H + h / params.queries;
  let real = range[b];
  let first = group.x * ROWS;
  let lane = thread % S;
  var nothing: subgroup_matrix_result<f32, NN, MM>;  // what sums begin with: a variable of a loop would keep its value
  let mine = thread / S * MM;     // this subgroup's first row
  let corner = mine * WIDE;
  //: for k in 0..4*D4/KK
  var q$k: subgroup_matrix_left<T, KK, MM>;
  //: end
  for (var part = 0u; part < ROWS; part += COLS) {
    workgroupBarrier();
    bring(0u, b, first + part, h, params.scale, thread);
    workgroupBarrier();
    if (mine / COLS * COLS == part) {
      //: for k in 0..4*D4/KK
      q$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&far, (mine % COLS * STRIDE + $(k)u * KK) / W, STRIDE / W);
      //: end
    }
  }
  var stop = min(real.y, params.T);
  if (CAUSAL == 1) { stop = min(stop, first + ROWS); }
  //: for n in 0..EACH
  let i$n = first + mine + row_of($(n)u, lane);
  let c$n = column_of($(n)u, lane);
  let at$n = corner + row_of($(n)u, lane) * WIDE + c$n;
  var top$n = NOTHING;
  var mass$n = 0.0;
  //: end
  for (var j = real.x; j < stop; j += COLS) {
    workgroupBarrier();
    bring(0u, b, j, key_head, 1.0, thread);
    workgroupBarrier();
    //: for c in 0..COLS/NN
    var s$c = nothing;
    //: for k in 0..4*D4/KK
    let k$(c)_$(k) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, col_major>(&far, ($(c)u * NN * STRIDE + $(k)u * KK) / W, STRIDE / W);
    s$c = subgroupMatrixMultiplyAccumulate(q$k, k$(c)_$(k), s$c);
    //: end
    subgroupMatrixStore<row_major>(&scores, corner + $(c)u * NN, s$c, WIDE);
    //: end
    workgroupBarrier();
    //: for n in 0..EACH
    {
      let s = select(NOTHING, scores[at$n], seen(i$n, j + c$n, real));
      let high = max(top$n, s);
      mass$n = mass$n * exp(top$n - high) + select(0.0, exp(s - high), s > NOTHING);
      top$n = high;
    }
    //: end
  }
  workgroupBarrier();
  //: for n in 0..EACH
  scores[at$n] = top$n;
  //: end
  workgroupBarrier();
  for (var row = thread; row < ROWS; row += THREADS) {
    var high = NOTHING;
    for (var c = 0u; c < COLS; c++) { high = max(high, scores[row * WIDE + c]); }
    row_stats[row].x = high;
  }
  workgroupBarrier();
  //: for n in 0..EACH
  scores[at$n] = mass$n * exp(top$n - row_stats[mine + row_of($(n)u, lane)].x);
  //: end
  workgroupBarrier();
  for (var row = thread; row < ROWS; row += THREADS) {
    var total = 0.0;
    for (var c = 0u; c < COLS; c++) { total += scores[row * WIDE + c]; }
    let whole = select(row_stats[row].x + log(total), -NOTHING, total == 0.0);
    row_stats[row].y = whole;
    if (first + row < params.T) { lse[in_stats(b, first + row, h)] = whole; }
  }
  workgroupBarrier();
  //: for n in 0..EACH
  let lse$n = row_stats[mine + row_of($(n)u, lane)].y;
  //: end
  //: for d in 0..4*D4/NN
  var y$d: subgroup_matrix_result<f32, NN, MM>;
  //: end
  for (var j = real.x; j < stop; j += COLS) {
    workgroupBarrier();
    bring(0u, b, j, key_head, 1.0, thread);
    bring(1u, b, j, key_head + params.G, 1.0, thread);
    workgroupBarrier();
    //: for c in 0..COLS/NN
    var s$c = nothing;
    //: for k in 0..4*D4/KK
    let k$(c)_$(k) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, col_major>(&far, ($(c)u * NN * STRIDE + $(k)u * KK) / W, STRIDE / W);
    s$c = subgroupMatrixMultiplyAccumulate(q$k, k$(c)_$(k), s$c);
    //: end
    subgroupMatrixStore<row_major>(&scores, corner + $(c)u * NN, s$c, WIDE);
    //: end
    workgroupBarrier();
    //: for n in 0..EACH
    weights[(mine + row_of($(n)u, lane)) * NARROW + c$n] = T(select(0.0, exp(scores[at$n] - lse$n), seen(i$n, j + c$n, real)));
    //: end
    workgroupBarrier();
    //: for k in 0..COLS/KK
    let w$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&weights, mine * NARROW + $(k)u * KK, NARROW);
    //: for d in 0..4*D4/NN
    let vd$(k)_$(d) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, row_major>(&far, (FAR + $(k)u * KK * STRIDE + $(d)u * NN) / W, STRIDE / W);
    y$d = subgroupMatrixMultiplyAccumulate(w$k, vd$(k)_$(d), y$d);
    //: end
    //: end
  }
  //: for d in 0..4*D4/NN
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&scores, corner, y$d, WIDE);
  workgroupBarrier();
  for (var e = lane * 4u; e < MM * NN; e += S * 4u) {
    let i = first + mine + e / NN;
    if (i < params.T) { y[in_y(b, i, h) + ($(d)u * NN + e % NN) / 4u] = taken(corner, e); }
  }
  //: end
}

@compute @workgroup_size(THREADS)
fn query_matrix(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let h = group.y;
  let b = group.z;
  let key_head = params.H + h / params.queries;
  let real = range[b];
  let first = group.x * ROWS;
  let lane = thread % S;
  var nothing: subgroup_matrix_result<f32, NN, MM>;  // what sums begin with: a variable of a loop would keep its value
  let mine = thread / S * MM;
  let corner = mine * WIDE;
  //: for k in 0..4*D4/KK
  var q$k: subgroup_matrix_left<T, KK, MM>;
  var g$k: subgroup_matrix_left<T, KK, MM>;
  //: end
  for (var part = 0u; part < ROWS; part += COLS) {
    workgroupBarrier();
    bring(0u, b, first + part, h, params.scale, thread);
    bring_dy(1u, b, first + part, h, thread);
    workgroupBarrier();
    if (mine / COLS * COLS == part) {
      //: for k in 0..4*D4/KK
      q$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&far, (mine % COLS * STRIDE + $(k)u * KK) / W, STRIDE / W);
      g$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&far, (FAR + mine % COLS * STRIDE + $(k)u * KK) / W, STRIDE / W);
      //: end
    }
  }
  //: for n in 0..EACH
  let i$n = first + mine + row_of($(n)u, lane);
  let c$n = column_of($(n)u, lane);
  let at$n = corner + row_of($(n)u, lane) * WIDE + c$n;
  let stat$n = stats_in[in_stats(b, near(i$n), h)];
  //: end
  //: for d in 0..4*D4/NN
  var dq$d: subgroup_matrix_result<f32, NN, MM>;
  //: end
  var stop = min(real.y, params.T);
  if (CAUSAL == 1) { stop = min(stop, first + ROWS); }
  for (var j = real.x; j < stop; j += COLS) {
    workgroupBarrier();
    bring(0u, b, j, key_head, 1.0, thread);
    bring(1u, b, j, key_head + params.G, 1.0, thread);
    workgroupBarrier();
    //: for c in 0..COLS/NN
    var s$c = nothing;
    //: for k in 0..4*D4/KK
    let k$(c)_$(k) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, col_major>(&far, ($(c)u * NN * STRIDE + $(k)u * KK) / W, STRIDE / W);
    s$c = subgroupMatrixMultiplyAccumulate(q$k, k$(c)_$(k), s$c);
    //: end
    subgroupMatrixStore<row_major>(&scores, corner + $(c)u * NN, s$c, WIDE);
    //: end
    workgroupBarrier();
    //: for n in 0..EACH
    let p$n = select(0.0, exp(scores[at$n] - stat$n.x), seen(i$n, j + c$n, real));
    //: end
    workgroupBarrier();
    //: for c in 0..COLS/NN
    var t$c = nothing;
    //: for k in 0..4*D4/KK
    let v$(c)_$(k) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, col_major>(&far, (FAR + $(c)u * NN * STRIDE + $(k)u * KK) / W, STRIDE / W);
    t$c = subgroupMatrixMultiplyAccumulate(g$k, v$(c)_$(k), t$c);
    //: end
    subgroupMatrixStore<row_major>(&scores, corner + $(c)u * NN, t$c, WIDE);
    //: end
    workgroupBarrier();
    //: for n in 0..EACH
    weights[(mine + row_of($(n)u, lane)) * NARROW + c$n] = T(p$n * (scores[at$n] - stat$n.y));
    //: end
    workgroupBarrier();
    //: for k in 0..COLS/KK
    let ds$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&weights, mine * NARROW + $(k)u * KK, NARROW);
    //: for d in 0..4*D4/NN
    let kd$(k)_$(d) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, row_major>(&far, ($(k)u * KK * STRIDE + $(d)u * NN) / W, STRIDE / W);
    dq$d = subgroupMatrixMultiplyAccumulate(ds$k, kd$(k)_$(d), dq$d);
    //: end
    //: end
  }
  //: for d in 0..4*D4/NN
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&scores, corner, dq$d, WIDE);
  workgroupBarrier();
  give(b, first + mine, h, $(d)u, params.scale, corner, lane);
  //: end
}

@compute @workgroup_size(THREADS)
fn keys_matrix(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let g = group.y;
  let b = group.z;
  let real = range[b];
  let first = group.x * ROWS;
  let lane = thread % S;
  var nothing: subgroup_matrix_result<f32, NN, MM>;  // what sums begin with: a variable of a loop would keep its value
  let mine = thread / S * MM;
  let corner = mine * WIDE;
  //: for k in 0..4*D4/KK
  var k$k: subgroup_matrix_left<T, KK, MM>;
  var v$k: subgroup_matrix_left<T, KK, MM>;
  //: end
  for (var part = 0u; part < ROWS; part += COLS) {
    workgroupBarrier();
    bring(0u, b, first + part, params.H + g, params.scale, thread);
    bring(1u, b, first + part, params.H + params.G + g, 1.0, thread);
    workgroupBarrier();
    if (mine / COLS * COLS == part) {
      //: for k in 0..4*D4/KK
      k$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&far, (mine % COLS * STRIDE + $(k)u * KK) / W, STRIDE / W);
      v$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&far, (FAR + mine % COLS * STRIDE + $(k)u * KK) / W, STRIDE / W);
      //: end
    }
  }
  //: for n in 0..EACH
  let j$n = first + mine + row_of($(n)u, lane);
  let c$n = column_of($(n)u, lane);
  let at$n = corner + row_of($(n)u, lane) * WIDE + c$n;
  let to$n = (mine + row_of($(n)u, lane)) * NARROW + c$n;
  //: end
  //: for d in 0..4*D4/NN
  var dk$d: subgroup_matrix_result<f32, NN, MM>;
  var dv$d: subgroup_matrix_result<f32, NN, MM>;
  //: end
  var start = 0u;
  if (CAUSAL == 1) { start = first; }
  for (var h = g * params.queries; h < (g + 1u) * params.queries; h++) {
    for (var i = start; i < params.T; i += COLS) {
      workgroupBarrier();
      bring(0u, b, i, h, 1.0, thread);
      bring_dy(1u, b, i, h, thread);
      for (var c = thread; c < COLS; c += THREADS) { row_stats[c] = stats_in[in_stats(b, near(i + c), h)]; }
      workgroupBarrier();
      //: for c in 0..COLS/NN
      var s$c = nothing;
      //: for k in 0..4*D4/KK
      let q$(c)_$(k) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, col_major>(&far, ($(c)u * NN * STRIDE + $(k)u * KK) / W, STRIDE / W);
      s$c = subgroupMatrixMultiplyAccumulate(k$k, q$(c)_$(k), s$c);
      //: end
      subgroupMatrixStore<row_major>(&scores, corner + $(c)u * NN, s$c, WIDE);
      //: end
      workgroupBarrier();
      //: for n in 0..EACH
      let see$n = i + c$n < params.T && seen(i + c$n, j$n, real);
      let p$n = select(0.0, exp(scores[at$n] - row_stats[c$n].x), see$n);
      weights[to$n] = T(p$n);
      //: end
      workgroupBarrier();
      //: for c in 0..COLS/NN
      var t$c = nothing;
      //: for k in 0..4*D4/KK
      let g$(c)_$(k) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, col_major>(&far, (FAR + $(c)u * NN * STRIDE + $(k)u * KK) / W, STRIDE / W);
      t$c = subgroupMatrixMultiplyAccumulate(v$k, g$(c)_$(k), t$c);
      //: end
      subgroupMatrixStore<row_major>(&scores, corner + $(c)u * NN, t$c, WIDE);
      //: end
      workgroupBarrier();
      //: for n in 0..EACH
      weights[WEIGHTS + to$n] = T(p$n * (scores[at$n] - row_stats[c$n].y));
      //: end
      workgroupBarrier();
      //: for k in 0..COLS/KK
      let w$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&weights, mine * NARROW + $(k)u * KK, NARROW);
      let ds$k = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&weights, WEIGHTS + mine * NARROW + $(k)u * KK, NARROW);
      //: for d in 0..4*D4/NN
      let qd$(k)_$(d) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, row_major>(&far, ($(k)u * KK * STRIDE + $(d)u * NN) / W, STRIDE / W);
      dk$d = subgroupMatrixMultiplyAccumulate(ds$k, qd$(k)_$(d), dk$d);
      let gd$(k)_$(d) = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, row_major>(&far, (FAR + $(k)u * KK * STRIDE + $(d)u * NN) / W, STRIDE / W);
      dv$d = subgroupMatrixMultiplyAccumulate(w$k, gd$(k)_$(d), dv$d);
      //: end
      //: end
    }
  }
  //: for d in 0..4*D4/NN
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&scores, corner, dk$d, WIDE);
  workgroupBarrier();
  give(b, first + mine, params.H + g, $(d)u, params.scale, corner, lane);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&scores, corner, dv$d, WIDE);
  workgroupBarrier();
  give(b, first + mine, params.H + params.G + g, $(d)u, 1.0, corner, lane);
  //: end
}
