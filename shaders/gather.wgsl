// Rows by number.  table, dx: [R, W];  rows: u32 [S], numbers above R - 1 mean R - 1;  result, dy: [S, W]
//   take     result[s] = table[rows[s]]
//   heads, marks, add_rows: the gradient,  dx[r] = sum of dy[s] over all s with rows[s] = r, s increasing; else 0
// take and add_rows overwrite; heads and marks accumulate into arrays that were zeroed.
// Positions are taken in chunks of P.  head[chunk, r] = P - (the first place in the chunk that names r), 0 = none;
// mark[chunk, that place] = P bits: all places in the chunk that name r. Integer atomics give the same result in
// every order, so that the sum over the bits is deterministic, and a row that no position names costs a load a chunk.
// T (constant): u32, or vec4u where W counts fours.  F: f32 or vec4f likewise.

struct Params { R: u32, S: u32, W: u32, chunks: u32 }

@group(0) @binding(0) var<storage, read> rows: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<T>;
@group(0) @binding(3) var<storage, read_write> head_rw: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read> head: array<u32>;
@group(0) @binding(5) var<storage, read_write> mark_rw: array<atomic<u32>>;
@group(0) @binding(6) var<storage, read> mark: array<vec4u>;
@group(0) @binding(7) var<storage, read> dy: array<F>;
@group(0) @binding(8) var<storage, read_write> dx: array<F>;
@group(0) @binding(9) var<uniform> params: Params;

fn row_of(s: u32) -> u32 { return min(rows[s], params.R - 1u); }

@compute @workgroup_size(64)
fn take(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  let count = params.S * params.W;
  for (var i = id.x + id.y * groups.x * 64u; i < count; i += stride) {
    result[i] = table[row_of(i / params.W) * params.W + i % params.W];
  }
}

@compute @workgroup_size(64)
fn heads(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let s = id.x + id.y * groups.x * 64u;
  if (s >= params.S) { return; }
  atomicMax(&head_rw[s / P * params.R + row_of(s)], P - s % P);
}

@compute @workgroup_size(64)
fn marks(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let s = id.x + id.y * groups.x * 64u;
  if (s >= params.S) { return; }
  let chunk = s / P;
  let owner = (chunk + 1u) * P - head[chunk * params.R + row_of(s)];
  atomicOr(&mark_rw[owner * (P / 32u) + s % P / 32u], 1u << (s % 32u));
}

@compute @workgroup_size(64)
fn add_rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let item = id.x + id.y * groups.x * 64u;
  if (item >= params.R * params.W) { return; }
  let r = item / params.W;
  let c = item % params.W;
  var total = F(0.0);
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    let behind = head[chunk * params.R + r];
    if (behind == 0u) { continue; }
    let owner = (chunk + 1u) * P - behind;
    for (var w = (P - behind) / 128u; w < P / 128u; w++) {
      let bits = mark[owner * (P / 128u) + w];
      for (var k = 0u; k < 4u; k++) {
        for (var word = bits[k]; word != 0u; word &= word - 1u) {
          let s = chunk * P + w * 128u + k * 32u + firstTrailingBit(word);
          total += dy[s * params.W + c];
        }
      }
    }
  }
  dx[item] = total;
}
