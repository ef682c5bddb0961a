// One decoding step of attention over a cache of keys and values.
//   qkv (of the new token): [R, H + 2G, D], a row's queries, keys, values    y: [R, H, D]
//   cache_k, cache_v: [R, S, G, D]   lengths: [R]
//   y_r = softmax(scale q_r . [cache keys 0 .. lengths_r, new key]) . values
//   The new key and value are stored at slot lengths_r.  Overwrites y; the cache in place.
//
//   extend_team   a workgroup of L threads a row and key head, L keys at a time: for their scores a thread is a key, for the sums
//                 over values it is a vec4 column of every PARTS-th of them. For GPUs: all reads of a row side by side
//   extend_plain  a thread a row and key head: best where loads cost more than lanes (software adapters); KEYS keys
//                 share the rescaling of what was summed before
//   fill          cache rows r take the keys and values of prompt source[r] in qkv: [P, T, H + 2G, D], from the prompt's
//                 first real token, range[p].x; NONE leaves a row alone
// C is a cache's element, PER vec4s: vec4f, or where HALF is 1 vec4u of eight f16 packed in pairs, which needs no
// feature. All arithmetic is f32; the new token attends to itself unrounded. extend_team has AHEAD loads of keys, and four of
// values, on their way at a time.

struct Params { R: u32, S: u32, H: u32, G: u32, T: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> cache_k: array<C>;
@group(0) @binding(2) var<storage, read_write> cache_v: array<C>;
@group(0) @binding(3) var<storage, read> lengths: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<storage, read> source: array<u32>;
@group(0) @binding(6) var<storage, read> range: array<vec2u>;
@group(0) @binding(7) var<uniform> params: Params;

const NOTHING = -3.0e38;
const NONE = 0xffffffffu;
const LARGEST = vec4f(65504.0);  // of f16

//: for half in 0..HALF
fn part(c: C, i: u32) -> vec4f {
  let two = select(c.xy, c.zw, i == 1u);
  return vec4f(unpack2x16float(two.x), unpack2x16float(two.y));
}

fn joined(first: vec4f, last: vec4f) -> C {
  let a = clamp(first, -LARGEST, LARGEST);
  let b = clamp(last, -LARGEST, LARGEST);
  return vec4u(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
}
//: end
//: for whole in HALF..1
fn part(c: C, i: u32) -> vec4f { return c; }

fn joined(first: vec4f, last: vec4f) -> C { return first; }
//: end

const PARTS = L / D4;

var<workgroup> queries: array<vec4f, QUERIES * D4>;
var<workgroup> scores: array<f32, QUERIES * L>;
var<workgroup> sums: array<vec4f, QUERIES * PARTS * D4>;
var<workgroup> masses: array<f32, QUERIES * PARTS>;

@compute @workgroup_size(L)
fn extend_team(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let g = group.x;
  let r = group.y;
  let length = min(lengths[r], params.S - 1u);
  let from_y = (r * params.H + g * QUERIES) * D4;
  let from_q = (r * (params.H + 2u * params.G) + g * QUERIES) * D4;
  let new_k = (r * (params.H + 2u * params.G) + params.H + g) * D4;
  let new_v = new_k + params.G * D4;
  for (var i = thread; i < QUERIES * D4; i += L) { queries[i] = params.scale * qkv[from_q + i]; }
  let part_of = thread / D4;
  let d_of = thread % D4;
  var sum: array<vec4f, QUERIES>;
  var mass: array<f32, QUERIES>;
  var top: array<f32, QUERIES>;
  //: for i in 0..QUERIES
  top[$i] = NOTHING;
  //: end
  // The new key comes after those that are cached.
  for (var first = 0u; first <= length; first += L) {
    workgroupBarrier();
    let j = first + thread;
    let at = ((r * params.S + min(j, length)) * params.G + g) * D4 / PER;
    //: for i in 0..QUERIES
    var s$i = 0.0;
    //: end
    for (var c = 0u; c < D4 / PER; c += AHEAD) {
      //: for e in 0..AHEAD
      let some$e = cache_k[at + c + $(e)u];
      //: end
      //: for e in 0..AHEAD
      for (var w = 0u; w < PER; w++) {
        let d = (c + $(e)u) * PER + w;
        let key = select(part(some$e, w), qkv[new_k + d], j >= length);
        //: for i in 0..QUERIES
        s$i += dot(queries[$(i)u * D4 + d], key);
        //: end
      }
      //: end
    }
    //: for i in 0..QUERIES
    scores[$(i)u * L + thread] = select(NOTHING, s$i, j <= length);
    //: end
    workgroupBarrier();
    if (part_of < PARTS) {
      let keys = min(L, length + 1u - first);
      //: for i in 0..QUERIES
      var high$i = top[$i];
      for (var n = 0u; n < keys; n++) { high$i = max(high$i, scores[$(i)u * L + n]); }
      let fade$i = exp(top[$i] - high$i);
      sum[$i] *= fade$i;
      mass[$i] *= fade$i;
      top[$i] = high$i;
      //: end
      for (var n = part_of; n < keys; n += 4u * PARTS) {
        //: for e in 0..4
        let n$e = min(n + $(e)u * PARTS, keys - 1u);
        let value$e = cache_v[((r * params.S + first + n$e) * params.G + g) * D4 / PER + d_of / PER];
        //: end
        //: for e in 0..4
        if (n + $(e)u * PARTS < keys) {
          let value = select(part(value$e, d_of % PER), qkv[new_v + d_of], first + n$e == length);
          //: for i in 0..QUERIES
          let p$i = exp(scores[$(i)u * L + n$e] - high$i);
          sum[$i] += p$i * value;
          mass[$i] += p$i;
          //: end
        }
        //: end
      }
    }
  }
  if (part_of < PARTS) {
    //: for i in 0..QUERIES
    sums[($(i)u * PARTS + part_of) * D4 + d_of] = sum[$i];
    masses[$(i)u * PARTS + part_of] = mass[$i];
    //: end
  }
  workgroupBarrier();
  for (var i = thread; i < QUERIES * D4; i += L) {
    var total = vec4f(0.0);
    var whole = 0.0;
    for (var n = 0u; n < PARTS; n++) {
      total += sums[(i / D4 * PARTS + n) * D4 + i % D4];
      whole += masses[i / D4 * PARTS + n];
    }
    y[from_y + i] = total / whole;
  }
  let slot = ((r * params.S + length) * params.G + g) * D4 / PER;
  for (var c = thread; c < D4 / PER; c += L) {
    let d = c * PER;
    cache_k[slot + c] = joined(qkv[new_k + d], qkv[new_k + d + PER - 1u]);
    cache_v[slot + c] = joined(qkv[new_v + d], qkv[new_v + d + PER - 1u]);
  }
}

@compute @workgroup_size(64)
fn extend_plain(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.R * params.G) { return; }
  let r = id.x / params.G;
  let length = min(lengths[r], params.S - 1u);
  let g = id.x % params.G;
  let from_y = id.x * QUERIES * D4;
  let from_q = (r * (params.H + 2u * params.G) + g * QUERIES) * D4;
  let new_k = (r * (params.H + 2u * params.G) + params.H + g) * D4;
  let new_v = new_k + params.G * D4;
  var query: array<vec4f, QUERIES * D4>;
  var sum: array<vec4f, QUERIES * D4>;
  var top: array<f32, QUERIES>;
  var mass: array<f32, QUERIES>;
  for (var d = 0u; d < D4; d++) {
    let key = qkv[new_k + d];
    let value = qkv[new_v + d];
    for (var i = 0u; i < QUERIES; i++) {
      query[i * D4 + d] = params.scale * qkv[from_q + i * D4 + d];
      top[i] += dot(query[i * D4 + d], key);
      sum[i * D4 + d] = value;
    }
  }
  for (var i = 0u; i < QUERIES; i++) { mass[i] = 1.0; }
  for (var first = 0u; first < length; first += KEYS) {
    var s: array<f32, KEYS * QUERIES>;
    for (var n = 0u; n < KEYS; n++) {
      let at = ((r * params.S + min(first + n, length - 1u)) * params.G + g) * D4 / PER;
      for (var i = 0u; i < QUERIES; i++) { s[n * QUERIES + i] = 0.0; }
      for (var d = 0u; d < D4; d += PER) {
        let some = cache_k[at + d / PER];
        for (var w = 0u; w < PER; w++) {
          let key = part(some, w);
          for (var i = 0u; i < QUERIES; i++) { s[n * QUERIES + i] += dot(query[i * D4 + d + w], key); }
        }
      }
      for (var i = 0u; i < QUERIES; i++) {
        s[n * QUERIES + i] = select(NOTHING, s[n * QUERIES + i], first + n < length);
      }
    }
    for (var i = 0u; i < QUERIES; i++) {
      var high = top[i];
      for (var n = 0u; n < KEYS; n++) { high = max(high, s[n * QUERIES + i]); }
      let fade = exp(top[i] - high);
      mass[i] *= fade;
      for (var n = 0u; n < KEYS; n++) {
        s[n * QUERIES + i] = exp(s[n * QUERIES + i] - high);
        mass[i] += s[n * QUERIES + i];
      }
      top[i] = high;
      for (var d = 0u; d < D4; d++) { sum[i * D4 + d] *= fade; }
    }
    for (var n = 0u; n < KEYS; n++) {
      let at = ((r * params.S + min(first + n, length - 1u)) * params.G + g) * D4 / PER;
      for (var d = 0u; d < D4; d += PER) {
        let some = cache_v[at + d / PER];
        for (var w = 0u; w < PER; w++) {
          let value = part(some, w);
          for (var i = 0u; i < QUERIES; i++) { sum[i * D4 + d + w] += s[n * QUERIES + i] * value; }
        }
      }
    }
  }
  for (var d = 0u; d < D4; d++) {
    for (var i = 0u; i < QUERIES; i++) { y[from_y + i * D4 + d] = sum[i * D4 + d] / mass[i]; }
  }
  let slot = ((r * params.S + length) * params.G + g) * D4 / PER;
  for (var d = 0u; d < D4; d += PER) {
    cache_k[slot + d / PER] = joined(qkv[new_k + d], qkv[new_k + d + PER - 1u]);
    cache_v[slot + d / PER] = joined(qkv[new_v + d], qkv[new_v + d + PER - 1u]);
  }
}

@compute @workgroup_size(64)
fn fill(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = params.G * D4 / PER;              // elements C a token
  let stride = groups.x * groups.y * 64u;
  for (var i = id.x + id.y * groups.x * 64u; i < params.R * params.T * row; i += stride) {
    let r = i / (params.T * row);
    let t = i / row % params.T;
    let p = source[r];
    if (p == NONE) { continue; }
    let token = range[p].x + t;
    if (token < params.T) {
      let from_k = ((p * params.T + token) * (params.H + 2u * params.G) + params.H) * D4 + i % row * PER;
      let from_v = from_k + params.G * D4;
      let to = (r * params.S + t) * row + i % row;
      cache_k[to] = joined(qkv[from_k], qkv[from_k + PER - 1u]);
      cache_v[to] = joined(qkv[from_v], qkv[from_v + PER - 1u]);
    }
  }
}
