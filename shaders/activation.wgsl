// Functions of one argument and their derivatives, for kernels that apply one to what they read or write.
//   f(v)   df(v) = f'(v)
// KIND (constant): which f; the numbers are NAMES of src/ops/activation.ts.

const SQRT_2_OVER_PI = 0.7978845608028654;
const INV_SQRT_2 = 0.7071067811865476;
const INV_SQRT_2PI = 0.3989422804014327;

// tanh overflows through exp on some drivers: clamp, where it is 1 to the last bit anyway.
fn tanh_safe(v: vec4f) -> vec4f { return tanh(clamp(v, vec4f(-10.0), vec4f(10.0))); }

fn sigmoid(v: vec4f) -> vec4f { return 1.0 / (1.0 + exp(-clamp(v, vec4f(-87.0), vec4f(87.0)))); }

// Abramowitz and Stegun 7.1.26 is good to 1.5e-7 only; this rational form of erfc (Numerical Recipes,
// "erfcc", Chebyshev fit) is good to 1.2e-7 relative, which keeps small tails exact.
fn erf(v: vec4f) -> vec4f {
  let z = abs(v);
  let t = 1.0 / (1.0 + 0.5 * z);
  let p = -z * z - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
    + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  let tail = t * exp(max(p, vec4f(-87.0)));
  return sign(v) * (1.0 - tail);
}

fn gelu_tanh_inner(v: vec4f) -> vec4f { return SQRT_2_OVER_PI * (v + 0.044715 * v * v * v); }

fn f(v: vec4f) -> vec4f {
  switch KIND {
    case 0: { return exp(v); }
    case 1: { return log(v); }
    case 2: { return -v; }
    case 3: { return v * v; }
    case 4: { return sqrt(v); }
    case 5: { return tanh_safe(v); }
    case 6: { return sigmoid(v); }
    case 7: { return max(v, vec4f(0.0)); }
    case 8: { return v * sigmoid(v); }
    case 9: { return 0.5 * v * (1.0 + tanh_safe(gelu_tanh_inner(v))); }
    case 10: { return 0.5 * v * (1.0 + erf(v * INV_SQRT_2)); }
    case 11: { return abs(v); }
    case 12: { return min(v, vec4f(0.0)) - log(1.0 + exp(-abs(v))); }
    default: { return v; }
  }
}

// f'(x)
fn df(v: vec4f) -> vec4f {
  switch KIND {
    case 0: { return exp(v); }
    case 1: { return 1.0 / v; }
    case 2: { return vec4f(-1.0); }
    case 3: { return 2.0 * v; }
    case 4: { return 0.5 * inverseSqrt(v); }
    case 5: { let t = tanh_safe(v); return 1.0 - t * t; }
    case 6: { let s = sigmoid(v); return s * (1.0 - s); }
    case 7: { return select(vec4f(0.0), vec4f(1.0), v > vec4f(0.0)); }
    case 8: { let s = sigmoid(v); return s * (1.0 + v * (1.0 - s)); }
    case 9: {
      let t = tanh_safe(gelu_tanh_inner(v));
      return 0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 0.134145 * v * v);
    }
    case 10: { return 0.5 * (1.0 + erf(v * INV_SQRT_2)) + v * INV_SQRT_2PI * exp(-0.5 * v * v); }
    case 11: { return sign(v); }
    case 12: { return sigmoid(-v); }
    default: { return vec4f(1.0); }
  }
}
