// Matrix product  C = op(A) op(B) + bias  for GPUs: workgroup memory, no subgroups.   C: [M, N], overwritten.
// A and B are f32 or f16 (constants A4, B4: vec4f, vec4h), sums f32.
//   A_T 0: A [M, K], 1: A [K, M]     B_T 0: B [K, N], 1: B [N, K]     bias [N] is added where params.bias is 1
// Where N is a multiple of 4, sums may be gone on with before they are written: matmul-finish.wgsl.
//
//   tile, tile_flat    a workgroup makes BM x BN values of C, a thread TM x TN of them in registers
// tile_flat is for N that is no multiple of 4. Each z of the grid is one product, or one of the `parts` of its K, `span`
// long, whose sums are then written side by side, [.., parts, M, N], for matmul-parts.wgsl to add up.
//
// Pieces of A and B, BK deep, come through workgroup memory: first those k that A's 4 by 4 blocks have, along m, then B's,
// along n; both as vec4s, so that the inner loop reads TM + TN floats for TM x TN fmas. WX x WY neighbouring threads make a
// compact part of C, since workgroup memory hands each value that they share out but once. What lies beyond M and N is
// read from where something is and never stored; beyond K it is 0.
// The sum over k runs in chunks of CHUNK, each from 0, added up in their order, whoever computes them: every form
// and every tile gives the same bits, and a row's result does not depend on how many rows there are.

struct Params {
  M: u32, N: u32, K: u32,
  span: u32, parts: u32,
  a_batch: u32, b_batch: u32,    // floats from one product to the next; 0 = shared
  bias: u32,
  four: u32, deep: u32,          // 4 and BK, where ROLLED is 1: trip counts that the compiler must not unroll
}

@group(0) @binding(0) var<storage, read> a: array<A4>;
@group(0) @binding(1) var<storage, read> b: array<B4>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> c_flat: array<f32>;
@group(0) @binding(5) var<storage, read> extra: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> activated: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;

const M4 = BM / 4;
const N4 = BN / 4;
const K4 = BK / 4;
const ROW = M4 + N4 + PAD;        // vec4s of one k in workgroup memory
const TX = BN / TN;               // threads along n, along m
const TY = BM / TM;
const THREADS = TX * TY;
const J = TN / 4;                 // vec4s of a thread along n

// GPUs want short loops unrolled; compilers for software adapters take 10 to 40 seconds over it.
fn four() -> u32 { if (ROLLED == 1) { return params.four; } return 4u; }
fn deep() -> u32 { if (ROLLED == 1) { return params.deep; } return BK; }

var<workgroup> memory: array<vec4f, MEMORY>;

// Four floats from any place: row lengths need not be multiples of 4.
fn join(low: vec4f, high: vec4f, by: u32) -> vec4f {
  if (by == 0u) { return low; }
  if (by == 1u) { return vec4f(low.yzw, high.x); }
  if (by == 2u) { return vec4f(low.zw, high.xy); }
  return vec4f(low.w, high.xyz);
}

fn read_a(at: u32) -> vec4f {
  let last = arrayLength(&a) - 1u;
  let low = vec4f(a[min(at / 4u, last)]);
  if (A_VEC == 1) { return low; }
  return join(low, vec4f(a[min(at / 4u + 1u, last)]), at % 4u);
}

fn read_b(at: u32) -> vec4f {
  let last = arrayLength(&b) - 1u;
  let low = vec4f(b[min(at / 4u, last)]);
  if (B_VEC == 1) { return low; }
  return join(low, vec4f(b[min(at / 4u + 1u, last)]), at % 4u);
}

// op(A)[m .. m+3][k .. k+3]: one vec4 along m for each k.
fn block_a(from_a: u32, m: u32, k: u32, last: u32) -> mat4x4f {
  var rows: mat4x4f;
  if (A_T == 0) {
    let inside = vec4u(k, k + 1u, k + 2u, k + 3u) < vec4u(last);
    for (var i = 0u; i < four(); i++) {
      rows[i] = select(vec4f(0.0), read_a(from_a + min(m + i, params.M - 1u) * params.K + k), inside);
    }
    return transpose(rows);
  }
  for (var i = 0u; i < four(); i++) {
    rows[i] = select(vec4f(0.0), read_a(from_a + (k + i) * params.M + m), k + i < last);
  }
  return rows;
}

// op(B)[k .. k+3][n .. n+3]: one vec4 along n for each k.
fn block_b(from_b: u32, n: u32, k: u32, last: u32) -> mat4x4f {
  var rows: mat4x4f;
  if (B_T == 1) {
    let inside = vec4u(k, k + 1u, k + 2u, k + 3u) < vec4u(last);
    for (var i = 0u; i < four(); i++) {
      rows[i] = select(vec4f(0.0), read_b(from_b + min(n + i, params.N - 1u) * params.K + k), inside);
    }
    return transpose(rows);
  }
  for (var i = 0u; i < four(); i++) {
    rows[i] = select(vec4f(0.0), read_b(from_b + (k + i) * params.N + n), k + i < last);
  }
  return rows;
}

// The 4 by 4 block of A's or B's piece from k on: first all of A's, then B's, in the order in which they follow each other in memory.
fn block_of(block: u32, corner: vec2u, k: u32, last: u32, starts: vec2u) -> mat4x4f {
  if (block < M4 * K4) {
    let m = select(block % M4, block / K4, A_T == 0);
    let k4 = select(block / M4, block % K4, A_T == 0);
    return block_a(starts.x, corner.x + m * 4u, k + k4 * 4u, last);
  }
  let rest = block - M4 * K4;
  let n = select(rest % N4, rest / K4, B_T == 1);
  let k4 = select(rest / N4, rest % K4, B_T == 1);
  return block_b(starts.y, corner.y + n * 4u, k + k4 * 4u, last);
}

// Puts it in its place in workgroup memory.
fn keep(block: u32, values: mat4x4f) {
  var at = 0u;
  if (block < M4 * K4) {
    at += select(block / M4, block % K4, A_T == 0) * 4u * ROW + select(block % M4, block / K4, A_T == 0);
  } else {
    let rest = block - M4 * K4;
    at += select(rest / N4, rest % K4, B_T == 1) * 4u * ROW + M4 + select(rest % N4, rest / K4, B_T == 1);
  }
  var rows = values;
  for (var i = 0u; i < four(); i++) { memory[at + i * ROW] = rows[i]; }
}

// A thread's place along n and m.
fn tx_of(thread: u32) -> u32 { return thread / (WX * WY) % (TX / WX) * WX + thread % WX; }
fn ty_of(thread: u32) -> u32 { return thread / (WX * WY) / (TX / WX) * WY + thread / WX % WY; }

// Adds the products of the pieces in workgroup memory.
fn multiply(sums: ptr<function, array<vec4f, TM * J>>, thread: u32) {
  let tx = tx_of(thread);
  let ty = ty_of(thread);
  for (var row = 0u; row < deep() * ROW; row += ROW) {
    //: for i in 0..TM/4
    let a$i = memory[row + $(i)u * TY + ty];
    //: end
    //: for j in 0..TN/4
    let b$j = memory[row + M4 + $(j)u * TX + tx];
    //: end
    //: for i in 0..TM
    //: for j in 0..TN/4
    (*sums)[$(i*(TN/4)+j)] = fma(vec4f(a$(i/4)[$(i%4)]), b$j, (*sums)[$(i*(TN/4)+j)]);
    //: end
    //: end
  }
}

// Where a thread's i-th row and j-th vec4 lie in its workgroup's part of C.
fn row_of(i: u32, thread: u32) -> u32 { return (i / 4u * TY + ty_of(thread)) * 4u + i % 4u; }
fn column_of(j: u32, thread: u32) -> u32 { return (j * TX + tx_of(thread)) * 4u; }

fn put(z: u32, m: u32, n: u32, value: vec4f) {
  if (m < params.M && n < params.N) { finish((z * params.M + m) * (params.N / 4u) + n / 4u, biased(value, n)); }
}

fn put_flat(z: u32, m: u32, n: u32, value: vec4f) {
  if (m >= params.M || n >= params.N) { return; }
  let full = biased(value, n);
  for (var i = 0u; i < min(4u, params.N - n); i++) { c_flat[(z * params.M + m) * params.N + n + i] = full[i]; }
}

fn starts_of(z: u32) -> vec2u { return z / params.parts * vec2u(params.a_batch, params.b_batch); }

// All of the thread's sums, chunk by chunk. The pieces that come next are on their way, in registers, while others are multiplied.
fn sum(total: ptr<function, array<vec4f, TM * J>>, group: vec3u, thread: u32) {
  let first = group.z % params.parts * params.span;
  let last = min(params.K, first + params.span);
  let corner = group.yx * vec2u(BM, BN);
  let starts = starts_of(group.z);
  var sums: array<vec4f, TM * J>;
  //: for t in 0..BLOCKS
  var ahead$t = block_of(min(thread + $(t)u * THREADS, (M4 + N4) * K4 - 1u), corner, first, last, starts);
  //: end
  for (var k = first; k < last; k += BK) {
    workgroupBarrier();
    //: for t in 0..BLOCKS
    if (thread + $(t)u * THREADS < (M4 + N4) * K4) { keep(thread + $(t)u * THREADS, ahead$t); }
    //: end
    workgroupBarrier();
    //: for t in 0..BLOCKS
    ahead$t = block_of(min(thread + $(t)u * THREADS, (M4 + N4) * K4 - 1u), corner, k + BK, last, starts);
    //: end
    multiply(&sums, thread);
    if ((k + BK - first) % CHUNK == 0u || k + BK >= last) {
      //: for i in 0..TM*TN/4
      (*total)[$i] += sums[$i];
      sums[$i] = vec4f(0.0);
      //: end
    }
  }
}

@compute @workgroup_size(THREADS)
fn tile(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var total: array<vec4f, TM * J>;
  sum(&total, group, thread);
  //: for i in 0..TM
  //: for j in 0..TN/4
  put(group.z, group.y * BM + row_of($(i)u, thread), group.x * BN + column_of($(j)u, thread), total[$(i*(TN/4)+j)]);
  //: end
  //: end
}

@compute @workgroup_size(THREADS)
fn tile_flat(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var total: array<vec4f, TM * J>;
  sum(&total, group, thread);
  //: for i in 0..TM
  //: for j in 0..TN/4
  put_flat(group.z, group.y * BM + row_of($(i)u, thread), group.x * BN + column_of($(j)u, thread), total[$(i*(TN/4)+j)]);
  //: end
  //: end
}
