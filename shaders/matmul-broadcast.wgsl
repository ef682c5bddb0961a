// Matrix product for software adapters  C = op(A) op(B) + bias.   C: [M, N], one product for each z of the grid.
//   nn  A [M, K], B [K, N]      nt  A [M, K], B [N, K]      tn  A [K, M], B [K, N]
//   turn  turned [M, K] = A [K, M] transposed, for wide tn products, which are faster as nn
// A and B are f32 or f16 (constants A4, B4: vec4f, vec4h), sums f32. bias [N] is added where BIAS is 1 (else any buffer may
// be bound there). Overwrites C, or adds to it where ADD is 1; overwrites turned. nn and nt may go on with the sum (constants):
//   PLUS   C += extra       SLOPE  C *= f'(extra)       KEEP  activated = f(C)       extra, activated: [M, N]; f: activation.wgsl
// Where SUMS is 1 nn adds the sums of B's columns to sums [N]: the gradient of a bias, beside that of its weight.
// A workgroup is one subgroup of L lanes, each lane owns four columns. A block of B, KC rows by 4L columns, is kept in a
// function-scope array, which such adapters keep in the first-level cache; rows of A are loaded once, a lane a piece,
// and broadcast. Wants N and the row lengths of A and B to be multiples of 4.
// The sum over k runs in blocks of KC, even and odd k apart: it depends on K alone, so a row's result does
// not depend on how many rows there are.

enable subgroups;

struct Params {
  M: u32, N: u32, K: u32,
  rows: u32,                                 // rows of C that one workgroup computes
  chunk: u32,                                // KC again: a trip count that the compiler must not unroll
  a_batch: u32, b_batch: u32, c_batch: u32,  // floats from one product to the next; 0 = shared
}

@group(0) @binding(0) var<storage, read> a: array<A4>;
@group(0) @binding(1) var<storage, read> b: array<B4>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> turned: array<A4>;
@group(0) @binding(5) var<storage, read> extra: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> activated: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;
@group(0) @binding(8) var<uniform> params: Params;

// Columns `near` of B's rows from k0 on, for B stored [K, N]; zeros beyond K. Returns their sum, for those who want it.
fn fill(block: ptr<function, array<vec4f, KC>>, k0: u32, from_b: u32, near: u32) -> vec4f {
  var sum = vec4f(0.0);
  for (var k = 0u; k < params.chunk; k++) {
    let row = vec4f(b[from_b + min(k0 + k, params.K - 1u) * (params.N / 4u) + near]);
    (*block)[k] = select(vec4f(0.0), row, k0 + k < params.K);
    //: for s in 0..SUMS
    sum += (*block)[k];
    //: end
  }
  return sum;
}

// Rows first .. last of C, chunk k0 of the sum, for A stored [M, K]: `block` holds the lane's columns of B.
fn add_rows(block: ptr<function, array<vec4f, KC>>, k0: u32, first: u32, last: u32, group: vec3u, lane: u32) {
  let K4 = params.K / 4u;
  let N4 = params.N / 4u;
  let column = group.x * L + lane;
  let near = min(column, N4 - 1u);
  let left = min(params.chunk, params.K - k0);
  let done = k0 + params.chunk >= params.K;
  let from_a = group.z * params.a_batch / 4u;
  let from_c = group.z * params.c_batch / 4u;
  var start = vec4f(0.0);
  if (BIAS == 1) { start = bias[near]; }
  for (var r = first; r < last; r++) {
    //: for t in 0..KC/(4*L)
    let q$t = $(t*L)u + lane;
    let a$t = select(vec4f(0.0), vec4f(a[from_a + r * K4 + min(k0 / 4u + q$t, K4 - 1u)]), q$t * 4u < left);
    //: end
    let at = from_c + r * N4 + near;
    var even = start;
    if (k0 > 0u || ADD == 1) { even = c[at]; }
    //: for e in 0..PLUS+SLOPE
    var more = vec4f(0.0);
    if (done) { more = extra[at]; }
    //: end
    var odd = vec4f(0.0);
    //: for j in 0..KC/2
    even = fma(vec4f(subgroupBroadcast(a$(2*j/(4*L))[$(2*j%4)], $(2*j/4%L)u)), (*block)[$(2*j)], even);
    odd = fma(vec4f(subgroupBroadcast(a$((2*j+1)/(4*L))[$((2*j+1)%4)], $((2*j+1)/4%L)u)), (*block)[$(2*j+1)], odd);
    //: end
    var sum = even + odd;
    //: for e in 0..PLUS
    sum += more;
    //: end
    //: for e in 0..SLOPE
    if (done) { sum *= df(more); }
    //: end
    if (column < N4) { c[at] = sum; }
    //: for e in 0..KEEP
    if (done && column < N4) { activated[at] = f(sum); }
    //: end
  }
}

@compute @workgroup_size(L)
fn nn(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let near = min(group.x * L + lane, params.N / 4u - 1u);
  let first = group.y * params.rows;
  let last = min(first + params.rows, params.M);
  let from_b = group.z * params.b_batch / 4u;
  var block: array<vec4f, KC>;
  var total = vec4f(0.0);
  for (var k0 = 0u; k0 < params.K; k0 += params.chunk) {
    total += fill(&block, k0, from_b, near);
    add_rows(&block, k0, first, last, group, lane);
  }
  //: for s in 0..SUMS
  if (group.y == 0u && group.x * L + lane < params.N / 4u) { sums[near] += total; }
  //: end
}

@compute @workgroup_size(L)
fn nt(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let K4 = params.K / 4u;
  let near = min(group.x * L + lane, params.N / 4u - 1u);
  let first = group.y * params.rows;
  let last = min(first + params.rows, params.M);
  let from_b = group.z * params.b_batch / 4u;
  var block: array<vec4f, KC>;
  for (var k0 = 0u; k0 < params.K; k0 += params.chunk) {
    let left = min(params.chunk, params.K - k0);
    for (var k = 0u; k < params.chunk / 4u; k++) {
      let k4 = min(k0 / 4u + k, K4 - 1u);
      let at = from_b + near * 4u * K4 + k4;
      let inside = k * 4u < left;
      let b0 = select(vec4f(0.0), vec4f(b[at]), inside);
      let b1 = select(vec4f(0.0), vec4f(b[at + K4]), inside);
      let b2 = select(vec4f(0.0), vec4f(b[at + 2u * K4]), inside);
      let b3 = select(vec4f(0.0), vec4f(b[at + 3u * K4]), inside);
      block[k * 4u] = vec4f(b0.x, b1.x, b2.x, b3.x);
      block[k * 4u + 1u] = vec4f(b0.y, b1.y, b2.y, b3.y);
      block[k * 4u + 2u] = vec4f(b0.z, b1.z, b2.z, b3.z);
      block[k * 4u + 3u] = vec4f(b0.w, b1.w, b2.w, b3.w);
    }
    add_rows(&block, k0, first, last, group, lane);
  }
}

@compute @workgroup_size(L)
fn tn(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let M4 = params.M / 4u;
  let N4 = params.N / 4u;
  let column = group.x * L + lane;
  let near = min(column, N4 - 1u);
  let first = group.y * params.rows / 4u;
  let last = min(first + params.rows / 4u, M4);
  let from_a = group.z * params.a_batch / 4u;
  let from_b = group.z * params.b_batch / 4u;
  let from_c = group.z * params.c_batch / 4u;
  var start = vec4f(0.0);
  if (BIAS == 1) { start = bias[near]; }
  var block: array<vec4f, KC>;
  for (var k0 = 0u; k0 < params.K; k0 += params.chunk) {
    let left = min(params.chunk, params.K - k0);
    fill(&block, k0, from_b, near);
    for (var r4 = first; r4 < last; r4++) {
      //: for t in 0..KC/L
      let q$t = $(t*L)u + lane;
      let four$t = select(vec4f(0.0), vec4f(a[from_a + min(k0 + q$t, params.K - 1u) * M4 + r4]), q$t < left);
      //: end
      for (var i = 0u; i < 4u; i++) {
        let r = r4 * 4u + i;
        //: for t in 0..KC/L
        let a$t = four$t[i];
        //: end
        var even = start;
        if (k0 > 0u || ADD == 1) { even = c[from_c + r * N4 + near]; }
        var odd = vec4f(0.0);
        //: for j in 0..KC/2
        even = fma(vec4f(subgroupBroadcast(a$(2*j/L), $(2*j%L)u)), block[$(2*j)], even);
        odd = fma(vec4f(subgroupBroadcast(a$((2*j+1)/L), $((2*j+1)%L)u)), block[$(2*j+1)], odd);
        //: end
        let sum = even + odd;
        if (column < N4) { c[from_c + r * N4 + column] = sum; }
      }
    }
  }
}

// Each thread turns blocks of 4 x 4, `rows` of them. A workgroup's lie 16 along k by 4 along m: whole cache lines on either side.
@compute @workgroup_size(64)
fn turn(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let M4 = params.M / 4u;
  let K4 = params.K / 4u;
  let from_a = group.z * params.a_batch / 4u;
  let k = group.y * 16u + thread / 16u * 4u + thread % 4u;
  for (var n = 0u; n < params.rows; n++) {
    let m = (group.x * params.rows + n) * 4u + thread / 4u % 4u;
    if (m < M4 && k < K4) {
      let at = from_a + 4u * k * M4 + m;
      let to = from_a + 4u * m * K4 + k;
      let x = transpose(mat4x4f(vec4f(a[at]), vec4f(a[at + M4]), vec4f(a[at + 2u * M4]), vec4f(a[at + 3u * M4])));
      turned[to] = A4(x[0]);
      turned[to + K4] = A4(x[1]);
      turned[to + 2u * K4] = A4(x[2]);
      turned[to + 3u * K4] = A4(x[3]);
    }
  }
}
