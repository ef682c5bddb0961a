// Matrix product  C = op(A) op(B) + bias.   C: [M, N], one product for each z of the grid; one thread an output.
// Any size and any transposition, by strides. Overwrites C. A and B are f32 or f16 (constants A1, B1), sums
// f32. bias [N] is added where BIAS is 1 (else any buffer may be bound there). Even and odd k are summed apart: as far as
// rounding goes, a form with blocks is its equal.

struct Params {
  M: u32, N: u32, K: u32,
  a_batch: u32, b_batch: u32, c_batch: u32,        // floats from one product to the next; 0 = shared
  a_row: u32, a_col: u32, b_row: u32, b_col: u32,  // strides of op(A) and op(B)
}

@group(0) @binding(0) var<storage, read> a: array<A1>;
@group(0) @binding(1) var<storage, read> b: array<B1>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(8, 8)
fn plain(@builtin(global_invocation_id) id: vec3u) {
  let n = id.x;
  let m = id.y;
  if (m >= params.M || n >= params.N) { return; }
  var even = 0.0;
  var odd = 0.0;
  let from_a = id.z * params.a_batch + m * params.a_row;
  let from_b = id.z * params.b_batch + n * params.b_col;
  for (var k = 0u; k < params.K; k += 2u) {
    even = fma(f32(a[from_a + k * params.a_col]), f32(b[from_b + k * params.b_row]), even);
    if (k + 1u < params.K) {
      let next = k + 1u;
      odd = fma(f32(a[from_a + next * params.a_col]), f32(b[from_b + next * params.b_row]), odd);
    }
  }
  var sum = even + odd;
  if (BIAS == 1) { sum += bias[n]; }
  c[id.z * params.c_batch + m * params.N + n] = sum;
}
