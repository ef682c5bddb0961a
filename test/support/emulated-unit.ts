/** A matrix unit for adapters that have none: WGSL in which each lane keeps whole matrices, for kernels that name MM, NN, KK and T. */

/** Types and the product. `positive`: a number of the kernel's parameters that is at least 1 and that the compiler does not know. */
export const emulatedUnit = (positive: string): string => `
// Not to be unrolled: that takes lavapipe half a minute.
fn upto(n: u32) -> u32 { return min(n, n * ${positive}); }
alias Left = array<T, MM * KK>;
alias Right = array<T, KK * NN>;
alias Result = array<f32, MM * NN>;
fn multiply(left_one: Left, right_one: Right, so_far: Result) -> Result {
  var one = left_one; var other = right_one; var out = so_far;
  for (var i = 0u; i < upto(MM * NN); i++) {
    for (var k = 0u; k < upto(KK); k++) { out[i] += f32(one[i / NN * KK + k]) * f32(other[k * NN + i % NN]); }
  }
  return out;
}`;
