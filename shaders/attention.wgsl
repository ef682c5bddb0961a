// Attention without a T x T matrix in memory (FlashAttention, Dao et al. 2022, 2023).
//   qkv, dqkv: [B, T, H + 2G, D], a token's H queries, then its G keys, then its G values
//   y, dy: [B, T, H, D]    lse: [B, H, T]    stats: [B, H, T] of (lse, delta)    range: [B] of (first, end)
//   s_ij = scale q_i . k_j where key j is seen by query i: first_b <= j < end_b and, if CAUSAL, j <= i
//   forward   y_i = sum_j softmax(s_i)_j v_j;  lse_i = log sum_j exp(s_ij)        overwrites y, lse
//   delta     stats_i = (lse_i, dy_i . y_i)                                       overwrites stats
//   query     dq_i = scale sum_j p_ij (dy_i . v_j - delta_i) k_j                  overwrites the queries of dqkv
//   keys      dv_j = sum_i p_ij dy_i,  dk_j = scale sum_i p_ij (dy_i . v_j - delta_i) q_i     overwrites its keys and values
// A query that sees no key (padding) gets y = 0 and gives no gradient.
//
// *_broadcast: a subgroup of L lanes; a lane owns ROWS queries (keys, in keys_broadcast). The rows of the other
// side come KEYS at a time, loaded once, a vec4 a lane, and broadcast.  D4 = D / 4.
// *_plain: a thread owns one query (key) and reads everything itself.

enable subgroups;

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

@compute @workgroup_size(L)
fn forward_broadcast(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let h = group.y;
  let b = group.z;
  let g = h / params.queries;
  let T = params.T;
  let real = range[b];
  let first = group.x * (L * ROWS);
  var query: array<vec4f, ROWS * D4>;
  var sum: array<vec4f, ROWS * D4>;
  var top: array<f32, ROWS>;
  var mass: array<f32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    let i = min(first + r * L + lane, T - 1u);
    for (var d = 0u; d < D4; d++) { query[r * D4 + d] = params.scale * qkv[in_qkv(b, i, h) + d]; }
    for (var d = 0u; d < D4; d++) { sum[r * D4 + d] = vec4f(0.0); }
    top[r] = NOTHING;
    mass[r] = 0.0;
  }
  var stop = min(real.y, T);
  if (CAUSAL == 1) { stop = min(stop, first + L * ROWS); }
  for (var j = real.x; j < stop; j += KEYS) {
    //: for n in 0..LOADS
    let at$n = $(n*L)u + lane;
    let row$n = in_qkv(b, min(j + at$n / D4, T - 1u), params.H + g) + at$n % D4;
    let k$n = qkv[row$n];
    let v$n = qkv[row$n + params.G * D4];
    //: end
    var score: array<f32, ROWS * KEYS>;
    //: for i in 0..ROWS*KEYS
    var s$i = 0.0;
    //: end
    //: for d in 0..D4
    //: for key in 0..KEYS
    let k$(d)_$(key) = subgroupBroadcast(k$((key*D4+d)/L), $((key*D4+d)%L)u);
    //: for r in 0..ROWS
    s$(r*KEYS+key) += dot(query[$(r*D4+d)], k$(d)_$(key));
    //: end
    //: end
    //: end
    //: for r in 0..ROWS
    //: for key in 0..KEYS
    score[$(r*KEYS+key)] = select(NOTHING, s$(r*KEYS+key), seen(first + $(r*L)u + lane, j + $key, real));
    //: end
    //: end
    for (var r = 0u; r < ROWS; r++) {
      var high = top[r];
      for (var key = 0u; key < KEYS; key++) { high = max(high, score[r * KEYS + key]); }
      let fade = exp(top[r] - high);
      var total = mass[r] * fade;
      for (var key = 0u; key < KEYS; key++) {
        let s = score[r * KEYS + key];
        let p = select(0.0, exp(s - high), s > NOTHING);
        score[r * KEYS + key] = p;
        total += p;
      }
      for (var d = 0u; d < D4; d++) { sum[r * D4 + d] *= fade; }
      top[r] = high;
      mass[r] = total;
    }
    //: for d in 0..D4
    //: for r in 0..ROWS
    var y$(d)_$(r) = sum[$(r*D4+d)];
    //: end
    //: for key in 0..KEYS
    let v$(d)_$(key) = subgroupBroadcast(v$((key*D4+d)/L), $((key*D4+d)%L)u);
    //: for r in 0..ROWS
    y$(d)_$(r) += score[$(r*KEYS+key)] * v$(d)_$(key);
    //: end
    //: end
    //: for r in 0..ROWS
    sum[$(r*D4+d)] = y$(d)_$(r);
    //: end
    //: end
  }
  for (var r = 0u; r < ROWS; r++) {
    let i = first + r * L + lane;
    if (i < T) {
      let empty = mass[r] == 0.0;
      let share = select(1.0 / mass[r], 0.0, empty);
      for (var d = 0u; d < D4; d++) { y[in_y(b, i, h) + d] = share * sum[r * D4 + d]; }
      lse[(b * params.H + h) * T + i] = select(top[r] + log(mass[r]), -NOTHING, empty);
    }
  }
}

@compute @workgroup_size(64)
fn delta(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let n = params.B * params.T * params.H;
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < n; i += stride) {
    var s = 0.0;
    for (var d = 0u; d < D4; d++) { s += dot(dy[i * D4 + d], y_in[i * D4 + d]); }
    let bt = i / params.H;
    let at = (bt / params.T * params.H + i % params.H) * params.T + bt % params.T;
    stats[at] = vec2f(lse_in[at], s);
  }
}

@compute @workgroup_size(L)
fn query_broadcast(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let h = group.y;
  let b = group.z;
  let g = h / params.queries;
  let T = params.T;
  let real = range[b];
  let first = group.x * (L * ROWS);
  var query: array<vec4f, ROWS * D4>;
  var grad: array<vec4f, ROWS * D4>;
  var sum: array<vec4f, ROWS * D4>;
  var stat: array<vec2f, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    let i = min(first + r * L + lane, T - 1u);
    for (var d = 0u; d < D4; d++) {
      query[r * D4 + d] = params.scale * qkv[in_qkv(b, i, h) + d];
      grad[r * D4 + d] = dy[in_y(b, i, h) + d];
      sum[r * D4 + d] = vec4f(0.0);
    }
    stat[r] = stats_in[(b * params.H + h) * T + i];
  }
  var stop = min(real.y, T);
  if (CAUSAL == 1) { stop = min(stop, first + L * ROWS); }
  for (var j = real.x; j < stop; j += KEYS) {
    //: for n in 0..LOADS
    let at$n = $(n*L)u + lane;
    let row$n = in_qkv(b, min(j + at$n / D4, T - 1u), params.H + g) + at$n % D4;
    let k$n = qkv[row$n];
    let v$n = qkv[row$n + params.G * D4];
    //: end
    //: for key in 0..KEYS
    {
      //: for d in 0..D4
      let c$d = subgroupBroadcast(k$((key*D4+d)/L), $((key*D4+d)%L)u);
      let e$d = subgroupBroadcast(v$((key*D4+d)/L), $((key*D4+d)%L)u);
      //: end
      for (var r = 0u; r < ROWS; r++) {
        var s = 0.0;
        var dp = 0.0;
        //: for d in 0..D4
        s += dot(query[r * D4 + $d], c$d);
        dp += dot(grad[r * D4 + $d], e$d);
        //: end
        let p = select(0.0, exp(s - stat[r].x), seen(first + r * L + lane, j + $key, real));
        let ds = p * (dp - stat[r].y);
        //: for d in 0..D4
        sum[r * D4 + $d] += ds * c$d;
        //: end
      }
    }
    //: end
  }
  for (var r = 0u; r < ROWS; r++) {
    let i = first + r * L + lane;
    if (i < T) {
      for (var d = 0u; d < D4; d++) { dqkv[in_qkv(b, i, h) + d] = params.scale * sum[r * D4 + d]; }
    }
  }
}

@compute @workgroup_size(L)
fn keys_broadcast(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let g = group.y;
  let b = group.z;
  let T = params.T;
  let real = range[b];
  let first = group.x * (L * ROWS);
  var key: array<vec4f, ROWS * D4>;
  var value: array<vec4f, ROWS * D4>;
  var key_sum: array<vec4f, ROWS * D4>;
  var value_sum: array<vec4f, ROWS * D4>;
  for (var r = 0u; r < ROWS; r++) {
    let j = min(first + r * L + lane, T - 1u);
    for (var d = 0u; d < D4; d++) {
      let at = in_qkv(b, j, params.H + g) + d;
      key[r * D4 + d] = params.scale * qkv[at];
      value[r * D4 + d] = qkv[at + params.G * D4];
      key_sum[r * D4 + d] = vec4f(0.0);
      value_sum[r * D4 + d] = vec4f(0.0);
    }
  }
  var start = 0u;
  if (CAUSAL == 1) { start = first; }
  for (var h = g * params.queries; h < (g + 1u) * params.queries; h++) {
    for (var i = start; i < T; i += KEYS) {
      //: for n in 0..LOADS
      let at$n = $(n*L)u + lane;
      let row$n = min(i + at$n / D4, T - 1u);
      let q$n = qkv[in_qkv(b, row$n, h) + at$n % D4];
      let g$n = dy[in_y(b, row$n, h) + at$n % D4];
      //: end
      let near = stats_in[(b * params.H + h) * T + min(i + lane % KEYS, T - 1u)];
      //: for key in 0..KEYS
      {
        //: for d in 0..D4
        let c$d = subgroupBroadcast(q$((key*D4+d)/L), $((key*D4+d)%L)u);
        let e$d = subgroupBroadcast(g$((key*D4+d)/L), $((key*D4+d)%L)u);
        //: end
        let stat = subgroupBroadcast(near, $(key)u);
        for (var r = 0u; r < ROWS; r++) {
          var s = 0.0;
          var dp = 0.0;
          //: for d in 0..D4
          s += dot(key[r * D4 + $d], c$d);
          dp += dot(value[r * D4 + $d], e$d);
          //: end
          let see = i + $key < T && seen(i + $key, first + r * L + lane, real);
          let p = select(0.0, exp(s - stat.x), see);
          let ds = p * (dp - stat.y);
          //: for d in 0..D4
          value_sum[r * D4 + $d] += p * e$d;
          key_sum[r * D4 + $d] += ds * c$d;
          //: end
        }
      }
      //: end
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let j = first + r * L + lane;
    if (j < T) {
      for (var d = 0u; d < D4; d++) {
        let at = in_qkv(b, j, params.H + g) + d;
        dqkv[at] = params.scale * key_sum[r * D4 + d];
        dqkv[at + params.G * D4] = value_sum[r * D4 + d];
      }
    }
  }
}

@compute @workgroup_size(64)
fn forward_plain(@builtin(global_invocation_id) id: vec3u) {
  let T = params.T;
  let i = id.x;
  let h = id.y;
  let b = id.z;
  if (i >= T) { return; }
  let real = range[b];
  let from_q = in_qkv(b, i, h);
  let from_y = in_y(b, i, h);
  var sum: array<vec4f, D4>;
  var top = NOTHING;
  var mass = 0.0;
  for (var j = real.x; j < min(real.y, T); j++) {
    if (!seen(i, j, real)) { break; }
    let from_k = in_qkv(b, j, params.H + h / params.queries);
    let from_v = from_k + params.G * D4;
    var s = 0.0;
    for (var d = 0u; d < D4; d++) { s += dot(qkv[from_q + d], qkv[from_k + d]); }
    s *= params.scale;
    let high = max(top, s);
    let fade = exp(top - high);
    let p = exp(s - high);
    for (var d = 0u; d < D4; d++) { sum[d] = sum[d] * fade + p * qkv[from_v + d]; }
    mass = mass * fade + p;
    top = high;
  }
  let empty = mass == 0.0;
  let share = select(1.0 / mass, 0.0, empty);
  for (var d = 0u; d < D4; d++) { y[from_y + d] = share * sum[d]; }
  lse[(b * params.H + h) * T + i] = select(top + log(mass), -NOTHING, empty);
}

@compute @workgroup_size(64)
fn query_plain(@builtin(global_invocation_id) id: vec3u) {
  let T = params.T;
  let i = id.x;
  let h = id.y;
  let b = id.z;
  if (i >= T) { return; }
  let real = range[b];
  let from_q = in_qkv(b, i, h);
  let from_y = in_y(b, i, h);
  let stat = stats_in[(b * params.H + h) * T + i];
  var sum: array<vec4f, D4>;
  for (var j = real.x; j < min(real.y, T); j++) {
    if (!seen(i, j, real)) { break; }
    let from_k = in_qkv(b, j, params.H + h / params.queries);
    let from_v = from_k + params.G * D4;
    var s = 0.0;
    var dp = 0.0;
    for (var d = 0u; d < D4; d++) {
      s += dot(qkv[from_q + d], qkv[from_k + d]);
      dp += dot(dy[from_y + d], qkv[from_v + d]);
    }
    let ds = exp(params.scale * s - stat.x) * (dp - stat.y);
    for (var d = 0u; d < D4; d++) { sum[d] += ds * qkv[from_k + d]; }
  }
  for (var d = 0u; d < D4; d++) { dqkv[from_q + d] = params.scale * sum[d]; }
}

@compute @workgroup_size(64)
fn keys_plain(@builtin(global_invocation_id) id: vec3u) {
  let T = params.T;
  let j = id.x;
  let g = id.y;
  let b = id.z;
  if (j >= T) { return; }
  let real = range[b];
  let from_k = in_qkv(b, j, params.H + g);
  let from_v = from_k + params.G * D4;
  var key_sum: array<vec4f, D4>;
  var value_sum: array<vec4f, D4>;
  for (var h = g * params.queries; h < (g + 1u) * params.queries; h++) {
    for (var i = select(0u, j, CAUSAL == 1); i < T; i++) {
      if (!seen(i, j, real)) { break; }
      let from_q = in_qkv(b, i, h);
      let from_y = in_y(b, i, h);
      var s = 0.0;
      var dp = 0.0;
      for (var d = 0u; d < D4; d++) {
        s += dot(qkv[from_q + d], qkv[from_k + d]);
        dp += dot(dy[from_y + d], qkv[from_v + d]);
      }
      let at = (b * params.H + h) * T + i;
      let p = exp(params.scale * s - stats_in[at].x);
      let ds = p * (dp - stats_in[at].y);
      for (var d = 0u; d < D4; d++) {
        value_sum[d] += p * dy[from_y + d];
        key_sum[d] += ds * qkv[from_q + d];
      }
    }
  }
  for (var d = 0u; d < D4; d++) {
    dqkv[from_k + d] = params.scale * key_sum[d];
    dqkv[from_v + d] = value_sum[d];
  }
}
