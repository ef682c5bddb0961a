/** A GPT-2 training step in TensorFlow.js, with its own Adam (it has no AdamW: weights do not decay). */

/** The parameters as variables, and `loss(ids, targets)`: one-hot products, since its wasm has no gradient of a gather. */
export function createModel(tf, { n_embd: C, n_layer, n_head: H, vocab_size: V }, [B, T]) {
  const normal = (shape) => tf.variable(tf.randomNormal(shape, 0, 0.02, "float32", 1));
  const zeros = (shape) => tf.variable(tf.zeros(shape));
  const norm = () => ({ g: tf.variable(tf.ones([C])), b: zeros([C]) });
  const linear = (K, N) => ({ w: normal([K, N]), b: zeros([N]) });
  const blocks = Array.from({ length: n_layer }, () => ({
    ln1: norm(),
    qkv: linear(C, 3 * C),
    proj: linear(C, C),
    ln2: norm(),
    fc: linear(C, 4 * C),
    out: linear(4 * C, C),
  }));
  const [wte, wpe, ln] = [normal([V, C]), normal([T, C]), norm()];
  const mask = tf.keep(tf.mul(tf.sub(tf.linalg.bandPart(tf.ones([T, T]), -1, 0), 1), 1e9));

  const apply = (x, { w, b }) => tf.add(tf.matMul(x, w), b);
  const layerNorm = (x, { g, b }) => {
    const centred = tf.sub(x, tf.mean(x, -1, true));
    const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), 1e-5));
    return tf.add(tf.mul(tf.mul(centred, scale), g), b);
  };
  const gelu = (x) => {
    const inner = tf.mul(tf.add(x, tf.mul(tf.mul(tf.square(x), x), 0.044715)), Math.sqrt(2 / Math.PI));
    return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
  };
  const heads = (x) => tf.transpose(tf.reshape(x, [B, T, H, C / H]), [0, 2, 1, 3]);
  const attention = (x, p) => {
    const [q, k, v] = tf.split(apply(x, p.qkv), 3, 1).map(heads);
    const scores = tf.add(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(C / H)), mask);
    const y = tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]);
    return apply(tf.reshape(y, [B * T, C]), p.proj);
  };

  const loss = (ids, targets) => {
    const tokens = tf.reshape(tf.matMul(ids, wte), [B, T, C]);
    let x = tf.reshape(tf.add(tokens, wpe), [B * T, C]);
    for (const p of blocks) {
      x = tf.add(x, attention(layerNorm(x, p.ln1), p));
      x = tf.add(x, apply(gelu(apply(layerNorm(x, p.ln2), p.fc)), p.out));
    }
    const logits = tf.matMul(layerNorm(x, ln), wte, false, true);
    return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), targets), -1)));
  };
  return { loss };
}
