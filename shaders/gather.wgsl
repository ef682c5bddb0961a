// Rows by number.  table, dx: [R, W];  rows: u32 [S], numbers above R - 1 mean R - 1;  result, dy: [S, W]
//   take      result[s] = table[rows[s]]                                     overwrites
//   heads, marks, chain, add_rows: the gradient,  dx[r] = dx[r] + (sum of dy[s] over all s with rows[s] = r, s increasing)
// A table may be larger than a binding holds: take and add_rows see its rows from .. from + count - 1 and do what
// concerns those. heads and marks accumulate into arrays that were zeroed.
// Positions are taken in chunks of P.  head[chunk, r] = P - (the first place in the chunk that names r), 0 = none;
// mark[chunk, that place] = P bits: all places in the chunk that name r. Integer atomics give the same result in
// every order. From both, next[s] = the next position that names the same row, S = none; LATER is set where an earlier
// one does. add_rows walks from each first position along the chain: as many loads as there are positions.
// T (constant): u32, or vec4u where W counts fours; f16 or vec4h for tables of f16.  F: f32 or vec4f likewise.

struct Params { R: u32, S: u32, W: u32, chunks: u32, from_row: u32, count: u32 }

@group(0) @binding(0) var<storage, read> rows: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<T>;
@group(0) @binding(3) var<storage, read_write> head_rw: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read> head: array<u32>;
@group(0) @binding(5) var<storage, read_write> mark_rw: array<atomic<u32>>;
@group(0) @binding(6) var<storage, read> mark: array<u32>;
@group(0) @binding(7) var<storage, read_write> next_rw: array<u32>;
@group(0) @binding(8) var<storage, read> next: array<u32>;
@group(0) @binding(9) var<storage, read> dy: array<F>;
@group(0) @binding(10) var<storage, read_write> dx: array<F>;
@group(0) @binding(11) var<uniform> params: Params;

const LATER = 0x80000000u;

fn row_of(s: u32) -> u32 { return min(rows[s], params.R - 1u); }

@compute @workgroup_size(64)
fn take(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  let count = params.S * params.W;
  for (var i = id.x + id.y * groups.x * 64u; i < count; i += stride) {
    let r = row_of(i / params.W) - params.from_row;
    if (r < params.count) { result[i] = table[r * params.W + i % params.W]; }
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

// The first place after `place` in its chunk that the owner's bits mark; P = none.
fn marked_after(owner: u32, place: u32) -> u32 {
  let after = place + 1u;
  for (var w = after / 32u; w < P / 32u; w++) {
    var bits = mark[owner * (P / 32u) + w];
    if (w == after / 32u) { bits &= 0xffffffffu << (after % 32u); }
    if (bits != 0u) { return w * 32u + firstTrailingBit(bits); }
  }
  return P;
}

@compute @workgroup_size(64)
fn chain(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let s = id.x + id.y * groups.x * 64u;
  if (s >= params.S) { return; }
  let r = row_of(s);
  let own = s / P;
  let behind = head[own * params.R + r];
  var follower = own * P + marked_after((own + 1u) * P - behind, s % P);
  if (follower == (own + 1u) * P) {
    follower = params.S;
    for (var c = own + 1u; c < params.chunks; c++) {
      let first = head[c * params.R + r];
      if (first > 0u) { follower = (c + 1u) * P - first; break; }
    }
  }
  var later = s % P != P - behind;
  for (var c = 0u; c < own && !later; c++) { later = head[c * params.R + r] > 0u; }
  next_rw[s] = follower | select(0u, LATER, later);
}

@compute @workgroup_size(64)
fn add_rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * groups.y * 64u;
  let items = params.S * params.W;
  for (var i = id.x + id.y * groups.x * 64u; i < items; i += stride) {
    let s = i / params.W;
    let r = row_of(s) - params.from_row;
    var t = next[s];
    if (r >= params.count || (t & LATER) != 0u) { continue; }
    var total = dy[i];
    while (t < params.S) {
      total += dy[t * params.W + i % params.W];
      t = next[t] & ~LATER;
    }
    dx[r * params.W + i % params.W] += total;
  }
}
