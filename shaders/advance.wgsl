// The bookkeeping after a token was drawn for every row.
//   tokens, logprobs: [R]  what was drawn      current: [R]  the token each row feeds to the model next
//   out_ids, out_logprobs: [R, N]  the response so far      progress: [R] of (response length, done)
//   lengths: [R]  tokens in the cache; grows by `appended` (0 after a prefill, 1 after a step)
// A row that is done keeps everything. Ends at one of eos0 .. eos3 or after N tokens.
//   positions: [R]  index of the next token in its response, for the sampler's random numbers

struct Params { R: u32, N: u32, appended: u32, eos0: u32, eos1: u32, eos2: u32, eos3: u32 }

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> logprobs: array<f32>;
@group(0) @binding(2) var<storage, read_write> current: array<u32>;
@group(0) @binding(3) var<storage, read_write> out_ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> out_logprobs: array<f32>;
@group(0) @binding(5) var<storage, read_write> progress: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> lengths: array<u32>;
@group(0) @binding(7) var<storage, read_write> positions: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(64)
fn advance(@builtin(global_invocation_id) id: vec3u) {
  let r = id.x;
  if (r >= params.R) { return; }
  let so = progress[r];
  if (so.y == 1u) { return; }
  let token = tokens[r];
  out_ids[r * params.N + so.x] = token;
  out_logprobs[r * params.N + so.x] = logprobs[r];
  current[r] = token;
  lengths[r] += params.appended;
  positions[r] = so.x + 1u;
  let eos = vec4u(params.eos0, params.eos1, params.eos2, params.eos3);
  let done = any(vec4u(token) == eos) || so.x + 1u == params.N;
  progress[r] = vec2u(so.x + 1u, select(0u, 1u, done));
}
