// The global L2 norm of all gradients, and the factor that clips it.
//   squares   partials[b] = sum of grads² over block b        overwrites
//   norm      clip[0] = sqrt(sum of partials), clip[1] = min(1, max_norm / (norm + 1e-6)), 1 where max_norm = 0
// table [blocks]: (first vec4, elements, decay, 0).  The order of every sum is fixed.

struct Params { first: u32, blocks: u32, max_norm: f32 }

@group(0) @binding(0) var<storage, read> grads: array<vec4f>;
@group(0) @binding(1) var<storage, read> table: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;
@group(0) @binding(3) var<storage, read_write> clip: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> sums: array<f32, 64>;

// Sum of what the 64 threads hold, in thread order; for thread 0 only.
fn total() -> f32 {
  var sum = 0.0;
  for (var t = 0u; t < 64u; t++) { sum += sums[t]; }
  return sum;
}

@compute @workgroup_size(64)
fn squares(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let b = group.x + group.y * groups.x;
  let inside = b < params.blocks;
  let block = table[params.first + min(b, params.blocks - 1u)];
  var sum = vec4f(0.0);
  for (var i = thread; i < (block.y + 3u) / 4u; i += 64u) {
    let live = vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u) < vec4u(block.y);
    let g = select(vec4f(0.0), grads[block.x + i], live);
    sum += g * g;
  }
  sums[thread] = (sum.x + sum.y) + (sum.z + sum.w);
  workgroupBarrier();
  if (thread == 0u && inside) { partials[params.first + b] = total(); }
}

@compute @workgroup_size(64)
fn norm(@builtin(local_invocation_index) thread: u32) {
  var sum = 0.0;
  for (var b = thread; b < params.blocks; b += 64u) { sum += partials[b]; }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    let length = sqrt(total());
    clip[0] = length;
    clip[1] = select(1.0, min(1.0, params.max_norm / (length + 1e-6)), params.max_norm > 0.0);
  }
}
