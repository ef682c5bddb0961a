/** A GPT-2 training step in jax-js: forward, backward and AdamW in one jit. Arrays are owned: `.ref` where one is used again. */
import { jit, nn, numpy as np, random, tree, valueAndGrad } from "@jax-js/jax";

const BETAS = [0.9, 0.95];
const DECAY = 0.1;
const EPS = 1e-8;
const RATE = 1e-3;

const normal = (seed, shape) => random.normal(random.key(seed), shape).mul(0.02);

export function createParameters({ n_embd: C, n_layer, vocab_size: V, n_positions }) {
  let seed = 1;
  const linear = (K, N) => ({ w: normal(seed++, [K, N]), b: np.zeros([N]) });
  const norm = () => ({ g: np.ones([C]), b: np.zeros([C]) });
  const layer = () => ({
    ln1: norm(),
    qkv: linear(C, 3 * C),
    proj: linear(C, C),
    ln2: norm(),
    fc: linear(C, 4 * C),
    out: linear(4 * C, C),
  });
  return {
    wte: normal(seed++, [V, C]),
    wpe: normal(seed++, [n_positions, C]),
    blocks: Array.from({ length: n_layer }, layer),
    ln: norm(),
  };
}

const apply = (x, { w, b }) => np.matmul(x, w).add(b);
const layerNorm = (x, { g, b }) => nn.standardize(x, -1).mul(g).add(b);

function block(x, p, H) {
  const [B, T, C] = x.shape;
  const qkv = apply(layerNorm(x.ref, p.ln1), p.qkv).reshape([B, T, 3, H, C / H]);
  const part = (i) => (i < 2 ? qkv.ref : qkv).slice([], [], i);
  const y = nn.dotProductAttention(part(0), part(1), part(2), { isCausal: true }).reshape([B, T, C]);
  const z = x.add(apply(y, p.proj));
  return z.ref.add(apply(nn.gelu(apply(layerNorm(z, p.ln2), p.fc)), p.out));
}

/** Mean cross-entropy of `targets` after `ids`, both [B·T]; products with one-hot rows instead of gathers, whose gradients are slow. */
function lossOf(p, ids, targets, { n_head, vocab_size: V }, [B, T]) {
  const C = p.wte.shape[1];
  const tokens = np.matmul(nn.oneHot(ids, V), p.wte.ref).reshape([B, T, C]);
  let x = tokens.add(p.wpe);
  for (const weights of p.blocks) x = block(x, weights, n_head);
  const logits = np.matmul(layerNorm(x, p.ln).reshape([B * T, C]), np.transpose(p.wte));
  const picked = nn.logSoftmax(logits, -1).mul(nn.oneHot(targets, V));
  return picked.sum().mul(-1 / (B * T));
}

/** @returns a function (parameters, m, v, t, ids, targets) -> [loss, parameters, m, v] */
export function createStep(model, [B, T]) {
  const valued = valueAndGrad((p, ids, targets) => lossOf(p, ids, targets, model, [B, T]));
  return jit((parameters, m, v, t, ids, targets) => {
    const [loss, gradient] = valued(tree.ref(parameters), ids, targets);
    const [b1, b2] = BETAS;
    const m2 = tree.map((m1, g) => m1.mul(b1).add(g.mul(1 - b1)), m, tree.ref(gradient));
    const v2 = tree.map((v1, g) => v1.mul(b2).add(np.square(g).mul(1 - b2)), v, gradient);
    const rate = np.reciprocal(np.subtract(1, np.power(b1, t.ref))).mul(RATE);
    const scale = np.reciprocal(np.sqrt(np.subtract(1, np.power(b2, t))));
    const next = tree.map(
      (x, a, b) => x.mul(1 - RATE * DECAY).sub(a.mul(rate.ref).div(np.sqrt(b).mul(scale.ref).add(EPS))),
      parameters,
      tree.ref(m2),
      tree.ref(v2),
    );
    rate.dispose();
    scale.dispose();
    return [loss, next, m2, v2];
  });
}

export const zerosLike = (parameters) => tree.map((x) => np.zeros(x.shape), tree.ref(parameters));
