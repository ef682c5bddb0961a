// Random numbers that belong to a sample and not to its batch.   streams: u32 [B, 2], low word first; positions: u32 [B]; seed: u32 [2]
//   uniforms  draws [B]: u in [0, 1) with 24 bits: word 0 of Philox4x32-10, counter (position, 0, stream), key = seed
//   words     random_words [B, 4]: the four words of Philox4x32-10 for given counters (for tests)
// Both overwrite.

struct Params { rows: u32 }

@group(0) @binding(0) var<storage, read> seed: array<u32>;
@group(0) @binding(1) var<storage, read> streams: array<vec2u>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read_write> draws: array<f32>;
@group(0) @binding(4) var<storage, read> counters: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> random_words: array<vec4u>;
@group(0) @binding(6) var<uniform> params: Params;

// High and low word of a product, from 16-bit halves.
fn product(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let carry = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2u((a >> 16u) * (b >> 16u) + (middle >> 16u) + (carry >> 16u), a * b);
}

// Salmon, Moraes, Dror, Shaw, SC 2011; the same as src/tensor/random.ts.
fn philox(start: vec4u, start_key: vec2u) -> vec4u {
  var counter = start;
  var key = start_key;
  for (var round = 0u; round < 10u; round++) {
    let p = product(0xd2511f53u, counter.x);
    let q = product(0xcd9e8d57u, counter.z);
    counter = vec4u(q.x ^ counter.y ^ key.x, q.y, p.x ^ counter.w ^ key.y, p.y);
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return counter;
}

@compute @workgroup_size(64)
fn uniforms(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.rows) { return; }
  let stream = streams[id.x];
  let word = philox(vec4u(positions[id.x], 0u, stream.x, stream.y), vec2u(seed[0], seed[1])).x;
  draws[id.x] = f32(word >> 8u) * 0x1p-24;
}

@compute @workgroup_size(64)
fn words(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.rows) { return; }
  random_words[id.x] = philox(counters[id.x], vec2u(seed[0], seed[1]));
}
