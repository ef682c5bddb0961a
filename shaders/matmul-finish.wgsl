// What becomes of a product's sums when they are written: for kernels that declare c, extra, activated and bias, and constants
//   ADD  C is added to     PLUS  C += extra     SLOPE  C *= f'(extra)     KEEP  activated = f(C)     f: activation.wgsl
//   FLAT  N is no multiple of 4, nothing is written here

// Writes the vec4 `at` of C.
fn finish(at: u32, value: vec4f) {
  //: for aligned in FLAT..1
  var result = value;
  //: for e in 0..ADD
  result += c[at];
  //: end
  //: for e in 0..PLUS
  result += extra[at];
  //: end
  //: for e in 0..SLOPE
  result *= df(extra[at]);
  //: end
  c[at] = result;
  //: for e in 0..KEEP
  activated[at] = f(result);
  //: end
  //: end
}

fn biased(value: vec4f, n: u32) -> vec4f {
  if (params.bias == 0u) { return value; }
  let end = params.N - 1u;
  return value + vec4f(bias[n], bias[min(n + 1u, end)], bias[min(n + 2u, end)], bias[min(n + 3u, end)]);
}
