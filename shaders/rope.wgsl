// Rotary position embedding, half-split form.  y: [N, row], the heads of N = B T tokens; one position each
//   turn  for the first `heads` heads and i < half: (y[i], y[i + half]) turned by the angle of (position, i), in place;
//         the dimensions from 2 half on and the other heads stay as they are.
// table: [maxPositions, 2 half], the cosines of a position, then its sines. DIRECTION 1 turns on, -1 back, which is
// the gradient. A position beyond the table gives NaN, never a wrong angle.
// E is vec4f, or f32 where D or half is not a multiple of 4. A thread turns one element pair of all heads of a token.

struct Params {
  tokens: u32,
  heads: u32,      // that turn
  width: u32,      // elements E in a head
  row: u32,        // elements E in a token
  half: u32,       // elements E in half of the turned part
  positions: u32,  // rows of the table
}

@group(0) @binding(0) var<storage, read_write> y: array<E>;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<E>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn turn(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let item = id.x + id.y * groups.x * 64u;
  if (item >= params.tokens * params.half) { return; }
  let token = item / params.half;
  let unit = item % params.half;
  let position = positions[token];
  let row = min(position, params.positions - 1u) * 2u * params.half + unit;
  var cosine = table[row];
  var sine = table[row + params.half] * DIRECTION;
  if (position >= params.positions) {
    cosine = E(bitcast<f32>(0x7fc00000u | (position & 1u)));
    sine = cosine;
  }
  for (var h = 0u; h < params.heads; h++) {
    let i = token * params.row + h * params.width + unit;
    let a = y[i];
    let b = y[i + params.half];
    y[i] = a * cosine - b * sine;
    y[i + params.half] = b * cosine + a * sine;
  }
}
