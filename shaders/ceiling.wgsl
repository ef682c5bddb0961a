// What an adapter can do at best: the two limits that benchmarks are measured against.
//   copy      y = x, vec4 by vec4, a workgroup a contiguous piece of `trips` times THREADS; x, y: [n]; overwrites y
//   multiply  a loop of fused multiply-adds and nothing else; overwrites y [threads], so that it is not left out
// CHAINS independent vec4 accumulators hide the latency; UNROLL steps pay for one turn of the loop.
// With factor 1/2 and addend 1/2 every accumulator runs to 1, through no denormals.

struct Params { n4: u32, trips: u32, factor: f32, addend: f32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(THREADS)
fn copy(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let first = (group.x + group.y * groups.x) * THREADS * params.trips + thread;
  for (var k = 0u; k < params.trips; k++) {
    let i = first + k * THREADS;
    if (i < params.n4) { y[i] = x[i]; }
  }
}

@compute @workgroup_size(THREADS)
fn multiply(@builtin(global_invocation_id) id: vec3u) {
  let factor = vec4f(params.factor);
  let addend = vec4f(params.addend);
  //: for c in 0..CHAINS
  var chain$c = vec4f(f32(id.x & 255u) + $(c).0);
  //: end
  for (var trip = 0u; trip < params.trips; trip++) {
    //: for u in 0..UNROLL
    //: for c in 0..CHAINS
    chain$c = fma(chain$c, factor, addend);
    //: end
    //: end
  }
  var sum = vec4f(0.0);
  //: for c in 0..CHAINS
  sum += chain$c;
  //: end
  y[id.x] = sum;
}
