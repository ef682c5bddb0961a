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

// (row, column) as it lies in storage: turned where the operand is transposed.
fn stored(straight: vec2u, transposed: bool) -> vec2u {
  return select(straight, straight.yx, transposed);
}

// The pieces of A and of B that start at `corner` of the operand's `extent`, both as stored.
fn stage_a(corner: vec2u, extent: vec2u, product: u32, thread: u32) {
  for (var i = thread; i < A_ROWS * A_COLUMNS / 4; i += THREADS) {
    let at = vec2u(i / (A_COLUMNS / 4), i % (A_COLUMNS / 4) * 4u);
    var x = vec4<T>();
    if (all(corner + at < extent)) { x = vec4<T>(a[(product * params.a_batch + dot(corner + at, vec2u(extent.y, 1u))) / 4u]); }
    for (var e = 0u; e < 4u; e++) { a_piece[at.x * A_STRIDE + at.y + e] = x[e]; }
  }
}

fn stage_b(corner: vec2u, extent: vec2u, product: u32, thread: u32) {
  for (var i = thread; i < B_ROWS * B_COLUMNS / 4; i += THREADS) {
    let at = vec2u(i / (B_COLUMNS / 4), i % (B_COLUMNS / 4) * 4u);
    var x = vec4<T>();
    if (all(corner + at < extent)) { x = vec4<T>(b[(product * params.b_batch + dot(corner + at, vec2u(extent.y, 1u))) / 4u]); }
    for (var e = 0u; e < 4u; e++) { b_piece[at.x * B_STRIDE + at.y + e] = x[e]; }
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
    stage_a(stored(vec2u(m0, k0), A_T == 1), stored(vec2u(params.M, params.K), A_T == 1), group.z, thread);
    stage_b(stored(vec2u(k0, n0), B_T == 1), stored(vec2u(params.K, params.N), B_T == 1), group.z, thread);
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
