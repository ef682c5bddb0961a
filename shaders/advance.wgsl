// The bookkeeping of R rows that draw responses of up to N tokens.
//   advance  stores the token just drawn for every row and moves the row on
//            tokens, logprobs: [R] what was drawn    current: [R] the token a row feeds to the model next
//            lengths: [R] tokens in its cache; 0 once it is idle, so that it attends to nothing
//            positions: [R] index in its response of the next token, for the sampler's random numbers
//            report: [R] of (tokens drawn, 1 when idle, the latest RING ids, the bits of their log-probabilities);
//            token t of a response stands at t % RING
//   admit    gives rows to new responses. admissions: [R] of (cached tokens, token to feed, random stream);
//            KEEP cached tokens leave a row alone, IDLE ones make it idle
// A response ends at one of eos0 .. eos3 or after N tokens. An idle row keeps its report.

struct Params { R: u32, N: u32, eos0: u32, eos1: u32, eos2: u32, eos3: u32 }

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> logprobs: array<f32>;
@group(0) @binding(2) var<storage, read> admissions: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> current: array<u32>;
@group(0) @binding(4) var<storage, read_write> lengths: array<u32>;
@group(0) @binding(5) var<storage, read_write> positions: array<u32>;
@group(0) @binding(6) var<storage, read_write> streams: array<vec2u>;
@group(0) @binding(7) var<storage, read_write> report: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

const KEEP = 0xffffffffu;
const IDLE = 0xfffffffeu;

@compute @workgroup_size(64)
fn advance(@builtin(global_invocation_id) id: vec3u) {
  let r = id.x;
  let base = r * (2u + 2u * RING);
  if (r >= params.R || report[base + 1u] == 1u) { return; }
  let token = tokens[r];
  let n = positions[r];
  let slot = base + 2u + n % RING;
  let eos = vec4u(params.eos0, params.eos1, params.eos2, params.eos3);
  let done = any(vec4u(token) == eos) || n + 1u == params.N;
  report[slot] = token;
  report[slot + RING] = bitcast<u32>(logprobs[r]);
  report[base] = n + 1u;
  report[base + 1u] = select(0u, 1u, done);
  current[r] = token;
  positions[r] = n + 1u;
  lengths[r] = select(lengths[r] + 1u, 0u, done);
}

@compute @workgroup_size(64)
fn admit(@builtin(global_invocation_id) id: vec3u) {
  let r = id.x;
  if (r >= params.R) { return; }
  let new_row = admissions[r];
  if (new_row.x == KEEP) { return; }
  let idle = new_row.x == IDLE;
  let base = r * (2u + 2u * RING);
  report[base] = 0u;
  report[base + 1u] = select(0u, 1u, idle);
  lengths[r] = select(new_row.x, 0u, idle);
  current[r] = new_row.y;
  positions[r] = 0u;
  streams[r] = new_row.zw;
}
