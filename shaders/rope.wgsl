// Rotary position embedding, half-split form.  x, y: [N, H, D], one position for each of N tokens (N = B T)
//   forward  for i < half: (y[i], y[i + half]) = (x[i], x[i + half]) turned by the angle of (position, i);
//            y = x in the dimensions from 2 half on. Overwrites y.
// table: [maxPositions, 2 half], the cosines of a position, then its sines. DIRECTION 1 turns on, -1 back, which is
// the gradient. A position beyond the table gives NaN, never a wrong angle.
// E is vec4f, or f32 where D or half is not a multiple of 4. A thread turns one element pair of all heads of a token.

struct Params {
  tokens: u32,
  heads: u32,
  width: u32,      // elements E in a head
  half: u32,       // elements E in half of the turned part
  positions: u32,  // rows of the table
}

@group(0) @binding(0) var<storage, read> x: array<E>;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<E>;
@group(0) @binding(3) var<storage, read_write> y: array<E>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let units = params.width - params.half;  // pairs, and elements that pass
  let item = id.x + id.y * groups.x * 64u;
  if (item >= params.tokens * units) { return; }
  let token = item / units;
  let unit = item % units;
  let start = token * params.heads * params.width;
  if (unit >= params.half) {
    for (var h = 0u; h < params.heads; h++) {
      let i = start + h * params.width + params.half + unit;
      y[i] = x[i];
    }
    return;
  }
  let position = positions[token];
  let row = min(position, params.positions - 1u) * 2u * params.half + unit;
  var cosine = table[row];
  var sine = table[row + params.half] * DIRECTION;
  if (position >= params.positions) {
    cosine = E(bitcast<f32>(0x7fc00000u | (position & 1u)));
    sine = cosine;
  }
  for (var h = 0u; h < params.heads; h++) {
    let i = start + h * params.width + unit;
    let a = x[i];
    let b = x[i + params.half];
    y[i] = a * cosine - b * sine;
    y[i + params.half] = b * cosine + a * sine;
  }
}
