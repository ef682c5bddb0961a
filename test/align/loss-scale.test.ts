/** PPO with scaled losses: the same numbers, and skipped steps that stay out of the means. */
import { afterAll, describe, expect, it } from "vitest";
import type { AlignMetrics, AlignRun, PpoSettings } from "../../src/align/loop.ts";
import { tableRun } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

interface Ran {
  readonly metrics: Omit<AlignMetrics, "seconds" | "tokensPerSecond">[];
  readonly hashes: readonly string[];
  /** [policy's, value function's] scale, count and skips. */
  readonly scales: readonly number[][];
}

async function ran(ppo: Partial<PpoSettings>, before?: (run: AlignRun, i: number) => void): Promise<Ran> {
  const run = await tableRun(device, { ppo: { valueEpochs: 2, ppoEpochs: 2, ...ppo } });
  const metrics: Ran["metrics"] = [];
  for (let i = 0; i < run.iterations; i++) {
    before?.(run, i);
    const { seconds: _s, tokensPerSecond: _t, ...rest } = (await run.iterate(i)).metrics;
    metrics.push(rest);
  }
  const hashes = [await run.policy.parameters.hash(), await run.value!.parameters.hash()];
  const states = ["policy.adamw.lossScale", "value.adamw.lossScale"].map((name) => run.tensors.get(name));
  const scales = await Promise.all(states.map(async (t) => (t ? [...(await t.read())] : [])));
  run.dispose();
  return { metrics, hashes, scales };
}

describe.each(["separate", "shared"] as const)("PPO with a %s value function", (value) => {
  it("has the bits of unscaled PPO, and says what the scale is", async () => {
    const [plain, scaled] = [await ran({ value }), await ran({ value, lossScale: { growEvery: 3 } })];
    expect(scaled.hashes).toEqual(plain.hashes);
    const without = scaled.metrics.map(({ lossScale: _l, skipped, ...rest }) => {
      expect(skipped).toBe(0);
      return rest;
    });
    expect(without).toEqual(plain.metrics);
    // Four steps an iteration; a scale that doubled after steps 3 and 6.
    expect(scaled.metrics.map((m) => m.lossScale)).toEqual([2 ** 17, 2 ** 18]);
  });

  it("keeps skipped steps out of its means, and the scales apart", async () => {
    const { metrics, scales } = await ran({ value, lossScale: {} }, ({ policy }, i) => {
      const { grad, size } = policy.parameters.get("table");
      if (i === 1) grad!.write(new Float32Array(size).fill(NaN));
    });
    expect(metrics.map((m) => [m.skipped, m.lossScale])).toEqual([
      [0, 65536],
      [1, 32768],
    ]);
    for (const m of metrics)
      for (const [name, x] of Object.entries(m)) expect(Number.isFinite(x), `${name} ${x}`).toBe(true);
    expect(scales[0]).toEqual([32768, 3, 1]);
    // Four steps an iteration, and passes of its own: two steps an epoch beyond the first two.
    if (value === "separate") expect(scales[1]).toEqual([65536, 8, 0]);
  });
});
