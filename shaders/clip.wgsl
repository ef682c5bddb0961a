// The global L2 norm of all gradients, the factor that clips it, and the loss scale's answer to it.
//   squares   partials[b] = sum of (grads / scale)² over block b        overwrites
//   norm      overwrites clip = (norm, factor, scale, skipped) with norm = sqrt(sum of partials) and
//             factor = min(1, max_norm / (norm + 1e-6)) / scale, without the minimum where max_norm = 0
// Gradients come multiplied by scale = scaling[0], a power of two (1 = not scaled).  Where grow_every > 0 (Micikevicius
// et al. 2018, "Mixed precision training", section 3.2), a norm that is not finite makes factor -1, which skips the step,
// and halves the scale (1 at least); grow_every other steps in a row double it (2^126 at most).
// scaling: (scale, such steps since it changed, steps skipped), in place.
// table [blocks]: (first vec4, elements, decay, 0).  The order of every sum is fixed.

struct Params { first: u32, blocks: u32, max_norm: f32, grow_every: u32 }

@group(0) @binding(0) var<storage, read> grads: array<vec4f>;
@group(0) @binding(1) var<storage, read> table: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;
@group(0) @binding(3) var<storage, read_write> clip: array<f32>;
@group(0) @binding(4) var<storage, read_write> scaling: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> sums: array<f32, 64>;

// Sum of what the 64 threads hold, in thread order; for thread 0 only.
fn total() -> f32 {
  var sum = 0.0;
  for (var t = 0u; t < 64u; t++) { sum += sums[t]; }
  return sum;
}

// 1 / scale for a power of two from 2^-126 to 2^126, exactly: division may round.
fn inverse(scale: f32) -> f32 { return bitcast<f32>(0x7f000000u - bitcast<u32>(scale)); }

// By its bits: compilers may take for granted that no number is infinite or NaN.
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(64)
fn squares(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let b = group.x + group.y * groups.x;
  let inside = b < params.blocks;
  let block = table[params.first + min(b, params.blocks - 1u)];
  let unscale = inverse(scaling[0]);
  var sum = vec4f(0.0);
  for (var i = thread; i < (block.y + 3u) / 4u; i += 64u) {
    let live = vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u) < vec4u(block.y);
    let g = select(vec4f(0.0), grads[block.x + i] * unscale, live);
    sum += g * g;
  }
  sums[thread] = (sum.x + sum.y) + (sum.z + sum.w);
  workgroupBarrier();
  if (thread == 0u && inside) { partials[params.first + b] = total(); }
}

// Halves or doubles the scale, or counts toward that.
fn adapt(scale: f32, overflow: bool) {
  if (overflow) {
    scaling[0] = max(1.0, 0.5 * scale);
    scaling[1] = 0.0;
    scaling[2] += 1.0;
  } else if (scaling[1] + 1.0 < f32(params.grow_every)) {
    scaling[1] += 1.0;
  } else {
    scaling[0] = min(0x1p126f, 2.0 * scale);
    scaling[1] = 0.0;
  }
}

@compute @workgroup_size(64)
fn norm(@builtin(local_invocation_index) thread: u32) {
  var sum = 0.0;
  for (var b = thread; b < params.blocks; b += 64u) { sum += partials[b]; }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    let scale = scaling[0];
    let length = sqrt(total());
    let overflow = params.grow_every > 0u && !is_finite(length);
    if (params.grow_every > 0u) { adapt(scale, overflow); }
    let factor = select(1.0, min(1.0, params.max_norm / (length + 1e-6)), params.max_norm > 0.0);
    clip[0] = length;
    clip[1] = select(factor * inverse(scale), -1.0, overflow);
    clip[2] = scale;
    clip[3] = scaling[2];
  }
}
