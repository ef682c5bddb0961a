// Matrix product on subgroup matrices (tensor cores)  C = op(A) op(B) + bias.   C: [M, N], a product, or one of the `parts` of its K,
// for each z of the grid.
// A [M, K], or [K, M] where A_T is 1; B [K, N], or [N, K] where B_T is 1. Overwrites C; bias [N] is added where BIAS is 1.
// Where N is a multiple of 4 (FLAT 0), sums may be gone on with before they are written: matmul-finish.wgsl.
//
// The unit multiplies [MM, KK] by [KK, NN] of type T into f32: operands are rounded to T, sums are not.
// A workgroup has SM x SN subgroups of S lanes, each with RM x RN matrices of C in registers. Pieces of A and B, BK deep, lie
// in workgroup memory as they lie in storage: a transposed operand is loaded by columns. There is room for two of each:
// while one is multiplied the next lies there, and the one after that is on its way, in registers. Beyond the edges they are
// zeros, since the unit reads whole matrices only. Matrices of C that lie inside are stored as they are (DIRECT), others go
// through workgroup memory.
// CELL is vec4<T> and W 4; where the unit's dialect loads from arrays of scalars alone, T and 1. The unit's loads and stores count
// cells, in offsets and strides.
// Wants rows of A and B to be whole vec4s. The sum over k runs in steps of KK: a row's bits depend on K alone.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

struct Params {
  M: u32, N: u32, K: u32,
  a_batch: u32, b_batch: u32,  // values from one product to the next; 0 = shared
  span: u32, parts: u32,       // how K is cut: each z of the grid is one of `parts` of a product, `span` long
}

@group(0) @binding(0) var<storage, read> a: array<A4>;
@group(0) @binding(1) var<storage, read> b: array<B4>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> c_flat: array<f32>;
@group(0) @binding(5) var<storage, read> extra: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> activated: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;

const BM = SM * RM * MM;
const BN = SN * RN * NN;
const THREADS = SM * SN * S;
// Pieces in workgroup memory, as rows of storage; a gap of 16 bytes after each row, so that its neighbours lie in other banks.
const A_ROWS = select(BM, BK, A_T == 1);
const A_COLUMNS = select(BK, BM, A_T == 1);
const A_STRIDE = A_COLUMNS + GAP;
const A_SIZE = A_ROWS * A_STRIDE;
const A_CELLS = A_ROWS * A_COLUMNS / 4;
const B_ROWS = select(BK, BN, B_T == 1);
const B_COLUMNS = select(BN, BK, B_T == 1);
const B_STRIDE = B_COLUMNS + GAP;
const B_SIZE = B_ROWS * B_STRIDE;
const B_CELLS = B_ROWS * B_COLUMNS / 4;

var<workgroup> a_piece: array<CELL, 2 * A_SIZE / W>;
var<workgroup> b_piece: array<CELL, 2 * B_SIZE / W>;
const ROW = SN * NN;
var<workgroup> c_piece: array<f32, SLOTS * MM * NN>;  // matrices of C on their way out; before that some columns of the bias, MM times

// (row, column) as it lies in storage: turned where the operand is transposed.
fn stored(straight: vec2u, transposed: bool) -> vec2u {
  return select(straight, straight.yx, transposed);
}

// A thread brings the vec4 of a piece at its `place` (row, column as stored), and those A_JUMP (B_JUMP) rows further on.
const A_JUMP = THREADS / (A_COLUMNS / 4);
const B_JUMP = THREADS / (B_COLUMNS / 4);
fn place_a(thread: u32) -> vec2u { return vec2u(thread / (A_COLUMNS / 4), thread % (A_COLUMNS / 4) * 4u); }
fn place_b(thread: u32) -> vec2u { return vec2u(thread / (B_COLUMNS / 4), thread % (B_COLUMNS / 4) * 4u); }

// Four values of A, and of B, from (row, column) as stored. EVEN: pieces never reach beyond the edges.
fn fetch_a(at: vec2u, z: u32) -> vec4<T> {
  let extent = stored(vec2u(params.M, params.K), A_T == 1);
  let index = (z * params.a_batch + at.x * extent.y + at.y) / 4u;
  //: for even in 0..A_EVEN
  return vec4<T>(a[index]);
  //: end
  //: for ragged in A_EVEN..1
  let inside = all(at < extent);
  return select(vec4<T>(), vec4<T>(a[select(0u, index, inside)]), inside);
  //: end
}

fn fetch_b(at: vec2u, z: u32) -> vec4<T> {
  let extent = stored(vec2u(params.K, params.N), B_T == 1);
  let index = (z * params.b_batch + at.x * extent.y + at.y) / 4u;
  //: for even in 0..B_EVEN
  return vec4<T>(b[index]);
  //: end
  //: for ragged in B_EVEN..1
  let inside = all(at < extent);
  return select(vec4<T>(), vec4<T>(b[select(0u, index, inside)]), inside);
  //: end
}

// Puts four values in their place, `half` being the first of that half of the workgroup memory.
fn keep_a(place: vec2u, half: u32, x: vec4<T>) {
  if (A_CELLS % THREADS != 0 && place.x >= A_ROWS) { return; }
  let at = half + place.x * A_STRIDE + place.y;
  //: for whole in 0..W/4
  a_piece[at / 4u] = x;
  //: end
  //: for e in 0..4-W/4*4
  a_piece[at + $(e)u] = x[$e];
  //: end
}

fn keep_b(place: vec2u, half: u32, x: vec4<T>) {
  if (B_CELLS % THREADS != 0 && place.x >= B_ROWS) { return; }
  let at = half + place.x * B_STRIDE + place.y;
  //: for whole in 0..W/4
  b_piece[at / 4u] = x;
  //: end
  //: for e in 0..4-W/4*4
  b_piece[at + $(e)u] = x[$e];
  //: end
}

// Copies one matrix of C from workgroup memory to its place, which starts at (m0, n0).
fn unload(from_c: u32, m0: u32, n0: u32, z: u32, lane: u32) {
  for (var e = lane * 4u; e < MM * NN; e += S * 4u) {
    let m = m0 + e / NN;
    let n = n0 + e % NN;
    if (m >= params.M || n >= params.N) { continue; }
    let at = (z * params.M + m) * params.N + n;
    let sums = vec4f(c_piece[from_c + e], c_piece[from_c + e + 1u], c_piece[from_c + e + 2u], c_piece[from_c + e + 3u]);
    finish(at / 4u, sums);
    //: for flat in 0..FLAT
    for (var i = 0u; i < min(4u, params.N - n); i++) { c_flat[at + i] = sums[i]; }
    //: end
  }
}

@compute @workgroup_size(THREADS)
fn product(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let z = group.z / params.parts;
  let first = group.z % params.parts * params.span;
  let last = min(params.K, first + params.span);
  let m0 = group.y * BM;
  let n0 = group.x * BN;
  let subgroup = thread / S;
  let m1 = subgroup / SN * RM * MM;  // this subgroup's corner within the workgroup's part of C
  let n1 = subgroup % SN * RN * NN;
  let a_place = place_a(thread);
  let b_place = place_b(thread);
  //: for t in 0..A_LOADS
  keep_a(a_place + vec2u($(t)u * A_JUMP, 0u), 0u, fetch_a(stored(vec2u(m0, first), A_T == 1) + a_place + vec2u($(t)u * A_JUMP, 0u), z));
  var a_next$t = vec4<T>();
  var a_later$t = vec4<T>();
  //: end
  //: for t in 0..B_LOADS
  keep_b(b_place + vec2u($(t)u * B_JUMP, 0u), 0u, fetch_b(stored(vec2u(first, n0), B_T == 1) + b_place + vec2u($(t)u * B_JUMP, 0u), z));
  var b_next$t = vec4<T>();
  var b_later$t = vec4<T>();
  //: end
  if (first + BK < last) {
    //: for t in 0..A_LOADS
    a_next$t = fetch_a(stored(vec2u(m0, first + BK), A_T == 1) + a_place + vec2u($(t)u * A_JUMP, 0u), z);
    //: end
    //: for t in 0..B_LOADS
    b_next$t = fetch_b(stored(vec2u(first + BK, n0), B_T == 1) + b_place + vec2u($(t)u * B_JUMP, 0u), z);
    //: end
  }
  //: for i in 0..RM
  //: for j in 0..RN
  var c$(i)_$(j): subgroup_matrix_result<f32, NN, MM>;
  //: end
  //: end
  //: for biased in 0..BIAS
  //: for j in 0..RN
  workgroupBarrier();
  for (var i = thread; i < MM * SN * NN; i += THREADS) {
    let n = n0 + (i / NN % SN * RN + $(j)u) * NN + i % NN;
    c_piece[i] = bias[min(n, params.N - 1u)];
  }
  workgroupBarrier();
  //: for i in 0..RM
  c$(i)_$(j) = subgroupMatrixLoad<subgroup_matrix_result<f32, NN, MM>, row_major>(&c_piece, subgroup % SN * NN, ROW);
  //: end
  //: end
  //: end
  workgroupBarrier();
  var turn = 0u;
  for (var k0 = first; k0 < last; k0 += BK) {
    if (k0 + 2 * BK < last) {
      //: for t in 0..A_LOADS
      a_later$t = fetch_a(stored(vec2u(m0, k0 + 2 * BK), A_T == 1) + a_place + vec2u($(t)u * A_JUMP, 0u), z);
      //: end
      //: for t in 0..B_LOADS
      b_later$t = fetch_b(stored(vec2u(k0 + 2 * BK, n0), B_T == 1) + b_place + vec2u($(t)u * B_JUMP, 0u), z);
      //: end
    }
    let a_half = turn * A_SIZE;
    let b_half = turn * B_SIZE;
    //: for k in 0..BK/KK
    {
      //: for i in 0..RM
      //: for stored_straight in A_T..1
      let a$i = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&a_piece, (a_half + (m1 + $(i)u * MM) * A_STRIDE + $(k)u * KK) / W, A_STRIDE / W);
      //: end
      //: for stored_turned in 0..A_T
      let a$i = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, col_major>(&a_piece, (a_half + $(k)u * KK * A_STRIDE + m1 + $(i)u * MM) / W, A_STRIDE / W);
      //: end
      //: end
      //: for j in 0..RN
      //: for stored_straight in B_T..1
      let b$j = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, row_major>(&b_piece, (b_half + $(k)u * KK * B_STRIDE + n1 + $(j)u * NN) / W, B_STRIDE / W);
      //: end
      //: for stored_turned in 0..B_T
      let b$j = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, col_major>(&b_piece, (b_half + (n1 + $(j)u * NN) * B_STRIDE + $(k)u * KK) / W, B_STRIDE / W);
      //: end
      //: end
      //: for i in 0..RM
      //: for j in 0..RN
      c$(i)_$(j) = subgroupMatrixMultiplyAccumulate(a$i, b$j, c$(i)_$(j));
      //: end
      //: end
    }
    //: end
    turn = 1u - turn;
    if (k0 + BK < last) {
      //: for t in 0..A_LOADS
      keep_a(a_place + vec2u($(t)u * A_JUMP, 0u), turn * A_SIZE, a_next$t);
      a_next$t = a_later$t;
      //: end
      //: for t in 0..B_LOADS
      keep_b(b_place + vec2u($(t)u * B_JUMP, 0u), turn * B_SIZE, b_next$t);
      b_next$t = b_later$t;
      //: end
    }
    workgroupBarrier();
  }
  //: for whole in 0..DIRECT
  if (m0 + BM <= params.M && n0 + BN <= params.N) {
    //: for i in 0..RM
    //: for j in 0..RN
    subgroupMatrixStore<row_major>(&c, ((group.z * params.M + m0 + m1 + $(i)u * MM) * params.N + n0 + n1 + $(j)u * NN) / 4u, c$(i)_$(j), params.N / 4u);
    //: end
    //: end
    return;
  }
  //: end
  // Some subgroups at a time: workgroup memory has room for SLOTS matrices.
  let at = subgroup % SLOTS * MM * NN;
  //: for out in 0..SM*SN/SLOTS
  {
    let mine = subgroup / SLOTS == $(out)u;
    //: for i in 0..RM
    //: for j in 0..RN
    if (mine) { subgroupMatrixStore<row_major>(&c_piece, at, c$(i)_$(j), NN); }
    workgroupBarrier();
    if (mine) { unload(at, m0 + m1 + $(i)u * MM, n0 + n1 + $(j)u * NN, group.z, thread % S); }
    workgroupBarrier();
    //: end
    //: end
  }
  //: end
}
