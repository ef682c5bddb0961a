// Reductions over one axis.  x: [outer, n, inner];  y: [outer, inner]
//   y[o, c] = scale * (sum or max or min over i of x[o, i, c])
// KIND (constant): 0 sum, 1 max, 2 min.  Everything here overwrites its output, but columns with ADD = 1 adds to it.
// A long axis is cut into `slabs` pieces of `slab` elements, the last one shorter; then y is [outer, slabs, inner]
// and is reduced again: the order of a sum depends on the shape alone.
//   columns   a thread a column of a slab, rows in order.  T (constant): f32, or vec4f where inner counts vec4s
//   rows      inner = 1: a subgroup of L lanes a slab, `steps` vec4s a lane, then a butterfly.
//             VEC = 1: slabs start at multiples of four; else four scalars are loaded
//   expand    gradient of sum:  dx[o, i, c] = scale * dy[o, c]     S (constant): element of dy, T or f32 (repeated)
//   first     gradient of max and min: dy[o, s, c] goes to the first i of slab s with x[o, i, c] = best[o, s, c]

enable subgroups;

struct Params {
  outer: u32, n: u32, inner: u32,
  slab: u32, slabs: u32,
  steps: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> source: array<T>;
@group(0) @binding(1) var<storage, read> source4: array<vec4f>;
@group(0) @binding(2) var<storage, read> source1: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<S>;
@group(0) @binding(4) var<storage, read> best: array<T>;
@group(0) @binding(5) var<storage, read_write> result: array<T>;
@group(0) @binding(6) var<storage, read_write> result1: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

fn join(u: T, v: T) -> T {
  if (KIND == 1) { return max(u, v); }
  if (KIND == 2) { return min(u, v); }
  return u + v;
}

fn join1(u: f32, v: f32) -> f32 {
  if (KIND == 1) { return max(u, v); }
  if (KIND == 2) { return min(u, v); }
  return u + v;
}

@compute @workgroup_size(64)
fn columns(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let item = id.x + id.y * groups.x * 64u;
  if (item >= params.outer * params.slabs * params.inner) { return; }
  let c = item % params.inner;
  let s = item / params.inner % params.slabs;
  let o = item / params.inner / params.slabs;
  let start = s * params.slab;
  let end = min(start + params.slab, params.n);
  var at = (o * params.n + start) * params.inner + c;
  var total = source[at];
  for (var i = start + 1u; i < end; i++) {
    at += params.inner;
    total = join(total, source[at]);
  }
  total *= params.scale;
  //: for a in 0..ADD
  total += result[item];
  //: end
  result[item] = total;
}

fn four(at: u32) -> vec4f {
  if (VEC == 1) { return source4[at / 4u]; }
  let last = params.outer * params.n - 1u;
  return vec4f(source1[min(at, last)], source1[min(at + 1u, last)], source1[min(at + 2u, last)], source1[min(at + 3u, last)]);
}

@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
  let count = params.outer * params.slabs;
  let wanted = (group.x + group.y * groups.x) * (64u / L) + local / L;
  let row = min(wanted, count - 1u);
  let lane = local % L;
  let o = row / params.slabs;
  let start = o * params.n + row % params.slabs * params.slab;
  let end = min(start + params.slab, (o + 1u) * params.n);
  var neutral = vec4f(0.0);
  if (KIND > 0) { neutral = vec4f(source1[start]); }
  var total = neutral;
  for (var k = 0u; k < params.steps; k++) {
    let at = start + (k * L + lane) * 4u;
    let inside = vec4u(at) + vec4u(0u, 1u, 2u, 3u) < vec4u(end);
    total = join(total, select(neutral, four(min(at, end - 1u)), inside));
  }
  var sum = join1(join1(total[0], total[1]), join1(total[2], total[3]));
  //: for k in 0..LOG
  sum = join1(sum, subgroupShuffleXor(sum, 1u << $(k)u));
  //: end
  if (wanted < count && lane == 0u) { result1[row] = sum * params.scale; }
}

@compute @workgroup_size(64)
fn expand(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  let count = params.outer * params.n * params.inner;
  for (var i = id.x + id.y * groups.x * 64u; i < count; i += stride) {
    result[i] = T(dy[i / params.inner / params.n * params.inner + i % params.inner]) * params.scale;
  }
}

@compute @workgroup_size(64)
fn first(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let item = id.x + id.y * groups.x * 64u;
  if (item >= params.outer * params.slabs * params.inner) { return; }
  let c = item % params.inner;
  let s = item / params.inner % params.slabs;
  let o = item / params.inner / params.slabs;
  let start = s * params.slab;
  let end = min(start + params.slab, params.n);
  let extreme = best[item];
  let given = T(dy[item]);
  var open = T(1.0);
  for (var i = start; i < end; i++) {
    let at = (o * params.n + i) * params.inner + c;
    let hit = open * T(source[at] == extreme);
    result[at] = select(T(0.0), given, hit > T(0.0));
    open -= hit;
  }
}
