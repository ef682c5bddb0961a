// What every form of attention shares, joined to its kernels (src/ops/attention-form.ts): where things are in the tensors that
// attention.wgsl describes, and who sees whom.

const NOTHING = -3.0e38;   // the score of a key that is not seen

// Where token t's head begins: a query head h, a key head H + g, a value head H + G + g.
fn in_qkv(b: u32, t: u32, head: u32) -> u32 {
  return ((b * params.T + t) * (params.H + 2u * params.G) + head) * D4;
}

// Where query head h begins in y and dy.
fn in_y(b: u32, t: u32, h: u32) -> u32 { return ((b * params.T + t) * params.H + h) * D4; }

fn seen(i: u32, j: u32, real: vec2u) -> bool {
  return j >= real.x && j < real.y && (CAUSAL == 0 || j <= i);
}
