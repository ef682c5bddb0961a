// Looks for NaNs: finds[slot] becomes the lowest index at which x has one; the host puts NONE there first.
//   x: [n] f32, or f16 where half = 1, as bits: a shader compiler may assume that floats are never NaN
//   finds: [slots]
struct Params { n: u32, slot: u32, half: u32 }

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> finds: array<atomic<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn first_nan(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let threads = groups.x * 64u;
  for (var i = id.x; i < params.n; i += threads) {
    let word = select(x[i], (x[i / 2u] >> (16u * (i & 1u))) << 16u, params.half == 1u);
    if ((word & 0x7fffffffu) > select(0x7f800000u, 0x7c000000u, params.half == 1u)) {
      atomicMin(&finds[params.slot], i);
      break;
    }
  }
}
