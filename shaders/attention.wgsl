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
// *_plain: a thread owns one query (key) and reads everything itself. D4 = D / 4. The other forms are files of their own.

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
