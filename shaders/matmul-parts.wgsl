// Adds up partial products, in their order: partial [.., parts, M, N], C [.., M, N]. N is a multiple of 4. Bias and what follows: see
// matmul-finish.wgsl.

struct Params { M: u32, N: u32, parts: u32, bias: u32 }

@group(0) @binding(0) var<storage, read> partial: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(3) var<storage, read> extra: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> activated: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let size = params.M * params.N / 4u;
  for (var at = id.x; at < size; at += groups.x * 64u) {
    var value = vec4f(0.0);
    let first = id.z * params.parts * size + at;
    // Eight loads on their way at a time: one by one, each would be waited for.
    for (var part = 0u; part < params.parts; part += 8u) {
      //: for p in 0..8
      let v$p = partial[first + min(part + $(p)u, params.parts - 1u) * size];
      //: end
      //: for p in 0..8
      value += select(vec4f(0.0), v$p, part + $(p)u < params.parts);
      //: end
    }
    finish(id.z * size + at, biased(value, at * 4u % params.N));
  }
}
