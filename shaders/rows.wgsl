// What kernels that reduce along rows share, joined to each of them (src/tensor/rows.ts). A row has L = 2^LOG lanes; E is vec4f, or
// f32 where rows are no whole vec4s, W floats long. Every lane of a row gets the result, whatever the order of its lanes' values.

// Below every logit, and finite: the difference of two of them is 0, not NaN.
const LOWEST = -3.0e38;

// The row of a thread: THREADS / L of them a workgroup.
fn row_of(group: vec3u, groups: vec3u, thread: u32) -> u32 {
  return (group.x + group.y * groups.x) * (THREADS / L) + thread / L;
}

// Sum of an element's floats. vec4f() of an f32 repeats it, hence the first alone where W is 1.
fn across(v: E) -> f32 {
  let t = vec4f(v);
  if (W == 4) { return (t.x + t.y) + (t.z + t.w); }
  return t.x;
}

// Largest of an element's floats.
fn highest(v: E) -> f32 {
  let t = vec4f(v);
  return max(max(t.x, t.y), max(t.z, t.w));
}

fn row_sum(v: f32) -> f32 {
  var sum = v;
  //: for m in 0..LOG
  sum += subgroupShuffleXor(sum, 1u << $(m)u);
  //: end
  return sum;
}

fn row_max(v: f32) -> f32 {
  var high = v;
  //: for m in 0..LOG
  high = max(high, subgroupShuffleXor(high, 1u << $(m)u));
  //: end
  return high;
}
