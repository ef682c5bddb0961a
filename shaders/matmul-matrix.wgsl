// Matrix product on subgroup matrices (tensor cores)  C = op(A) op(B) + bias.   C: [M, N], one product for each z of the grid.
// A [M, K], or [K, M] where A_T is 1; B [K, N], or [N, K] where B_T is 1. Overwrites C; bias [N] is added where params.bias is 1.
// The unit multiplies [MM, KK] by [KK, NN] of type T into f32: operands are rounded to T, sums are not.
// A workgroup has SM x SN subgroups of S lanes, each with RM x RN matrices of C in registers. Pieces of A and B, BK deep, lie
// in workgroup memory as they lie in storage: a transposed operand is loaded by columns. Beyond the edges they are zeros,
// since the unit reads whole matrices only; C goes through workgroup memory for the same reason.
// Wants rows of A and B to be whole vec4s. The sum over k runs in steps of KK: a row's bits depend on K alone.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

struct Params {
  M: u32, N: u32, K: u32,
  a_batch: u32, b_batch: u32,  // values from one product to the next; 0 = shared
  bias: u32,
}

@group(0) @binding(0) var<storage, read> a: array<A4>;
@group(0) @binding(1) var<storage, read> b: array<B4>;
@group(0) @binding(2) var<storage, read> bias: array<u32>;  // floats; any buffer may be bound where there is none
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

const BM = SM * RM * MM;
const BN = SN * RN * NN;
const THREADS = SM * SN * S;
// Pieces in workgroup memory, as rows of storage; a gap after each row, so that its neighbours lie in other banks.
const A_ROWS = select(BM, BK, A_T == 1);
const A_COLUMNS = select(BK, BM, A_T == 1);
const A_STRIDE = A_COLUMNS + 8;
const B_ROWS = select(BK, BN, B_T == 1);
const B_COLUMNS = select(BN, BK, B_T == 1);
const B_STRIDE = B_COLUMNS + 8;

var<workgroup> a_piece: array<T, A_ROWS * A_STRIDE>;
var<workgroup> b_piece: array<T, B_ROWS * B_STRIDE>;
var<workgroup> c_piece: array<f32, SM * SN * MM * NN>;

// The piece of A that starts at row m0 and depth k0.
fn stage_a(m0: u32, k0: u32, z: u32, thread: u32) {
  let rows = select(params.M, params.K, A_T == 1);
  let columns = select(params.K, params.M, A_T == 1);
  let row0 = select(m0, k0, A_T == 1);
  let column0 = select(k0, m0, A_T == 1);
  for (var i = thread; i < A_ROWS * A_COLUMNS / 4; i += THREADS) {
    let row = i / (A_COLUMNS / 4);
    let column = i % (A_COLUMNS / 4) * 4u;
    var x = vec4<T>();
    if (row0 + row < rows && column0 + column < columns) {
      x = vec4<T>(a[(z * params.a_batch + (row0 + row) * columns + column0 + column) / 4u]);
    }
    let at = row * A_STRIDE + column;
    a_piece[at] = x.x;
    a_piece[at + 1u] = x.y;
    a_piece[at + 2u] = x.z;
    a_piece[at + 3u] = x.w;
  }
}

// The piece of B that starts at depth k0 and column n0.
fn stage_b(k0: u32, n0: u32, z: u32, thread: u32) {
  let rows = select(params.K, params.N, B_T == 1);
  let columns = select(params.N, params.K, B_T == 1);
  let row0 = select(k0, n0, B_T == 1);
  let column0 = select(n0, k0, B_T == 1);
  for (var i = thread; i < B_ROWS * B_COLUMNS / 4; i += THREADS) {
    let row = i / (B_COLUMNS / 4);
    let column = i % (B_COLUMNS / 4) * 4u;
    var x = vec4<T>();
    if (row0 + row < rows && column0 + column < columns) {
      x = vec4<T>(b[(z * params.b_batch + (row0 + row) * columns + column0 + column) / 4u]);
    }
    let at = row * B_STRIDE + column;
    b_piece[at] = x.x;
    b_piece[at + 1u] = x.y;
    b_piece[at + 2u] = x.z;
    b_piece[at + 3u] = x.w;
  }
}

// Copies one matrix of C from workgroup memory to its place, which starts at (m0, n0).
fn unload(at: u32, m0: u32, n0: u32, z: u32, lane: u32) {
  for (var e = lane; e < MM * NN; e += S) {
    let m = m0 + e / NN;
    let n = n0 + e % NN;
    if (m < params.M && n < params.N) {
      var sum = c_piece[at + e];
      if (params.bias == 1u) { sum += bitcast<f32>(bias[n]); }
      c[(z * params.M + m) * params.N + n] = sum;
    }
  }
}

@compute @workgroup_size(THREADS)
fn product(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let m0 = group.y * BM;
  let n0 = group.x * BN;
  let subgroup = thread / S;
  let m1 = subgroup / SN * RM * MM;  // this subgroup's corner within the workgroup's part of C
  let n1 = subgroup % SN * RN * NN;
  //: for i in 0..RM
  //: for j in 0..RN
  var c$(i)_$(j): subgroup_matrix_result<f32, NN, MM>;
  //: end
  //: end
  for (var k0 = 0u; k0 < params.K; k0 += BK) {
    workgroupBarrier();
    stage_a(m0, k0, group.z, thread);
    stage_b(k0, n0, group.z, thread);
    workgroupBarrier();
    for (var k = 0u; k < BK; k += KK) {
      //: for i in 0..RM
      //: for stored_straight in A_T..1
      let a$i = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, row_major>(&a_piece, (m1 + $(i)u * MM) * A_STRIDE + k, A_STRIDE);
      //: end
      //: for stored_turned in 0..A_T
      let a$i = subgroupMatrixLoad<subgroup_matrix_left<T, KK, MM>, col_major>(&a_piece, k * A_STRIDE + m1 + $(i)u * MM, A_STRIDE);
      //: end
      //: end
      //: for j in 0..RN
      //: for stored_straight in B_T..1
      let b$j = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, row_major>(&b_piece, k * B_STRIDE + n1 + $(j)u * NN, B_STRIDE);
      //: end
      //: for stored_turned in 0..B_T
      let b$j = subgroupMatrixLoad<subgroup_matrix_right<T, NN, KK>, col_major>(&b_piece, (n1 + $(j)u * NN) * B_STRIDE + k, B_STRIDE);
      //: end
      //: end
      //: for i in 0..RM
      //: for j in 0..RN
      c$(i)_$(j) = subgroupMatrixMultiplyAccumulate(a$i, b$j, c$(i)_$(j));
      //: end
      //: end
    }
  }
  let at = subgroup * MM * NN;
  //: for i in 0..RM
  //: for j in 0..RN
  subgroupMatrixStore<row_major>(&c_piece, at, c$(i)_$(j), NN);
  workgroupBarrier();
  unload(at, m0 + m1 + $(i)u * MM, n0 + n1 + $(j)u * NN, group.z, thread % S);
  workgroupBarrier();
  //: end
  //: end
}
