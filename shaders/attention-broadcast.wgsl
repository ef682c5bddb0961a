// Attention for software adapters. The formulas, the tensors and what is overwritten are those of attention.wgsl.
//   forward_broadcast  y, lse      query_broadcast  the queries of dqkv      keys_broadcast  its keys and values
// A workgroup is one subgroup of L lanes; a lane owns ROWS queries (keys, in keys_broadcast). The rows of the other side come
// KEYS at a time, loaded once, a vec4 a lane, and broadcast, dimension by dimension: what a dimension needs stays in registers.

enable subgroups;

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
    //: for i in 0..ROWS*KEYS
    var s$i = 0.0;
    var t$i = 0.0;
    //: end
    //: for d in 0..D4
    //: for key in 0..KEYS
    let k$(d)_$(key) = subgroupBroadcast(k$((key*D4+d)/L), $((key*D4+d)%L)u);
    //: for r in 0..ROWS
    s$(r*KEYS+key) += dot(query[$(r*D4+d)], k$(d)_$(key));
    //: end
    //: end
    //: end
    //: for d in 0..D4
    //: for key in 0..KEYS
    let v$(d)_$(key) = subgroupBroadcast(v$((key*D4+d)/L), $((key*D4+d)%L)u);
    //: for r in 0..ROWS
    t$(r*KEYS+key) += dot(grad[$(r*D4+d)], v$(d)_$(key));
    //: end
    //: end
    //: end
    //: for r in 0..ROWS
    //: for key in 0..KEYS
    let p$(r)_$(key) = select(0.0, exp(s$(r*KEYS+key) - stat[$r].x), seen(first + $(r*L)u + lane, j + $key, real));
    let ds$(r)_$(key) = p$(r)_$(key) * (t$(r*KEYS+key) - stat[$r].y);
    //: end
    //: end
    //: for d in 0..D4
    //: for r in 0..ROWS
    var q$(d)_$(r) = sum[$(r*D4+d)];
    //: end
    //: for key in 0..KEYS
    let kk$(d)_$(key) = subgroupBroadcast(k$((key*D4+d)/L), $((key*D4+d)%L)u);
    //: for r in 0..ROWS
    q$(d)_$(r) += ds$(r)_$(key) * kk$(d)_$(key);
    //: end
    //: end
    //: for r in 0..ROWS
    sum[$(r*D4+d)] = q$(d)_$(r);
    //: end
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
      //: for i in 0..ROWS*KEYS
      var s$i = 0.0;
      var t$i = 0.0;
      //: end
      //: for d in 0..D4
      //: for key in 0..KEYS
      let q$(d)_$(key) = subgroupBroadcast(q$((key*D4+d)/L), $((key*D4+d)%L)u);
      //: for r in 0..ROWS
      s$(r*KEYS+key) += dot(key[$(r*D4+d)], q$(d)_$(key));
      //: end
      //: end
      //: end
      //: for d in 0..D4
      //: for key in 0..KEYS
      let g$(d)_$(key) = subgroupBroadcast(g$((key*D4+d)/L), $((key*D4+d)%L)u);
      //: for r in 0..ROWS
      t$(r*KEYS+key) += dot(value[$(r*D4+d)], g$(d)_$(key));
      //: end
      //: end
      //: end
      //: for key in 0..KEYS
      let stat$key = subgroupBroadcast(near, $(key)u);
      //: for r in 0..ROWS
      let see$(r)_$(key) = i + $key < T && seen(i + $key, first + $(r*L)u + lane, real);
      let p$(r)_$(key) = select(0.0, exp(s$(r*KEYS+key) - stat$(key).x), see$(r)_$(key));
      let ds$(r)_$(key) = p$(r)_$(key) * (t$(r*KEYS+key) - stat$(key).y);
      //: end
      //: end
      //: for d in 0..D4
      //: for r in 0..ROWS
      var dv$(d)_$(r) = value_sum[$(r*D4+d)];
      //: end
      //: for key in 0..KEYS
      let gg$(d)_$(key) = subgroupBroadcast(g$((key*D4+d)/L), $((key*D4+d)%L)u);
      //: for r in 0..ROWS
      dv$(d)_$(r) += p$(r)_$(key) * gg$(d)_$(key);
      //: end
      //: end
      //: for r in 0..ROWS
      value_sum[$(r*D4+d)] = dv$(d)_$(r);
      var dk$(d)_$(r) = key_sum[$(r*D4+d)];
      //: end
      //: for key in 0..KEYS
      let qq$(d)_$(key) = subgroupBroadcast(q$((key*D4+d)/L), $((key*D4+d)%L)u);
      //: for r in 0..ROWS
      dk$(d)_$(r) += ds$(r)_$(key) * qq$(d)_$(key);
      //: end
      //: end
      //: for r in 0..ROWS
      key_sum[$(r*D4+d)] = dk$(d)_$(r);
      //: end
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
