// Looks for NaNs: finds[slot] becomes the lowest index at which x has one; the host puts NONE there first.
//   x: [n], as bits: a shader compiler may assume that floats are never NaN
//   finds: [slots]
struct Params { n: u32, slot: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> finds: array<atomic<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn first_nan(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let threads = groups.x * 64u;
  for (var i = id.x; i < params.n; i += threads) {
    if ((x[i] & 0x7fffffffu) > 0x7f800000u) {
      atomicMin(&finds[params.slot], i);
      break;
    }
  }
}
