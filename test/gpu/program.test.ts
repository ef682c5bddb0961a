/** Programs: what is recorded runs, again and again, and shares memory without ever mixing values up. */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { KernelError } from "../../src/errors.ts";
import { type Kernel, loadKernel } from "../../src/gpu/kernel.ts";
import { add, mul } from "../../src/ops/binary.ts";
import { concat, slice } from "../../src/ops/layout.ts";
import { addTo } from "../../src/ops/copy.ts";
import { exp, tanh } from "../../src/ops/unary.ts";
import { call } from "../../src/tensor/op.ts";
import { empty, input, persistent, record, type Tensor } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
const unary = await loadKernel("unary");
afterAll(() => device.close());

describe("a program", () => {
  it("replays with new inputs, and keeps those it was given", async () => {
    const program = await record(device, "square", () => {
      const [x, y] = [input([3]), input([3])];
      return { x, y, z: add(mul(x, x), y) };
    });
    const { x, y, z } = program.result;
    expect([...(await z.read())]).toEqual([0, 0, 0]); // nothing has run yet
    x.write([1, 2, 3]);
    expect([...(await z.read())]).toEqual([0, 0, 0]);
    y.write([10, 20, 30]);
    program.run();
    expect([...(await z.read())]).toEqual([11, 24, 39]);
    x.write([2, 2, 2]);
    program.run();
    expect([...(await z.read())]).toEqual([14, 24, 34]);
    program.dispose();
  });

  it("runs many times in one submission", async () => {
    const sum = persistent(device, [4]);
    const program = await record(device, "count", () => {
      const one = input([4]);
      addTo(sum, one);
      return { one };
    });
    program.result.one.write([1, 2, 3, 4]);
    const before = device.counters.submits;
    program.run(5);
    expect(device.counters.submits - before).toBe(1);
    expect([...(await sum.read())]).toEqual([5, 10, 15, 20]);
    program.dispose();
  });

  it("keeps its outputs while others use the scratch memory", async () => {
    const make = (k: number): Promise<{ run(): void; result: { x: Tensor; y: Tensor } }> =>
      record(device, `program ${k}`, () => {
        const x = input([64]);
        return { x, y: tanh(exp(mul(tanh(x), x))) };
      });
    const [a, b] = await Promise.all([make(1), make(2)]);
    a.result.x.write(Array(64).fill(0.5));
    b.result.x.write(Array(64).fill(-1.5));
    a.run();
    const first = await a.result.y.read();
    b.run();
    expect(await a.result.y.read()).toEqual(first);
    expect((await b.result.y.read())[0]).toBeCloseTo(Math.tanh(Math.exp(Math.tanh(-1.5) * -1.5)), 5);
  });

  it("hands its outputs to other programs", async () => {
    const a = await record(device, "a", () => ({ x: input([4]), y: exp(input([4])) }));
    const b = await record(device, "b", () => add(a.result.y, a.result.y));
    a.run();
    b.run();
    expect([...(await b.result.read())]).toEqual([2, 2, 2, 2]);
  });

  it("prints its calls", async () => {
    const program = await record(device, "shown", () => exp(tanh(input([40]))));
    const table = program.describe();
    expect(table).toContain("shown: 2 dispatches");
    expect(table.split("\n")).toHaveLength(4);
    expect(table).toMatch(/0 {2}unary\.forward +1x1x1 +0\.0 +0\.3 {2}KIND=5/);
    expect(table).toMatch(/1 {2}unary\.forward .* KIND=0/);
    program.dispose();
  });

  it("can be disposed twice, and not run after", async () => {
    const before = device.bytesAllocated;
    const program = await record(device, "gone", () => exp(input([100])));
    program.dispose();
    program.dispose();
    expect(device.bytesAllocated).toBe(before);
    expect(() => program.run()).toThrow(/gone: run after dispose/);
  });
});

/** A random program of adds, products, tanhs, slices and concatenations, and the same on float64 arrays. */
interface Step {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
}

interface Twin {
  readonly gpu: Tensor;
  readonly cpu: Float64Array;
}

const values = (size: number, seed: number): Float64Array =>
  Float64Array.from({ length: size }, (_, i) => Math.fround(Math.sin(seed * 12.9898 + i * 78.233)));

function grow(twins: Twin[], { kind, a, b }: Step): Twin {
  const [p, q] = [twins[a % twins.length]!, twins[b % twins.length]!];
  const n = Math.min(p.gpu.size, q.gpu.size);
  const [pn, qn] = [part(p, n), part(q, n)];
  if (kind === 0) return { gpu: tanh(p.gpu), cpu: p.cpu.map(Math.tanh) };
  if (kind === 1) return { gpu: add(pn.gpu, qn.gpu), cpu: pn.cpu.map((v, i) => v + qn.cpu[i]!) };
  if (kind === 2) return { gpu: mul(pn.gpu, qn.gpu), cpu: pn.cpu.map((v, i) => v * qn.cpu[i]!) };
  if (kind === 3 && p.gpu.size > 1) return part(p, Math.ceil(p.gpu.size / 2));
  const joined = { gpu: concat([p.gpu, q.gpu], 0), cpu: Float64Array.of(...p.cpu, ...q.cpu) };
  return joined.cpu.length <= 300 ? joined : part(joined, 64);
}

const part = ({ gpu, cpu }: Twin, n: number): Twin =>
  gpu.size === n ? { gpu, cpu } : { gpu: slice(gpu, 0, 0, n), cpu: cpu.slice(0, n) };

const step = fc.record({ kind: fc.nat(4), a: fc.nat(1000), b: fc.nat(1000) });
const graph = fc.record({
  sizes: fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 3 }),
  steps: fc.array(step, { minLength: 3, maxLength: 25 }),
  kept: fc.nat(1000),
});

describe("sharing memory by liveness", () => {
  it("never corrupts a value, whatever the graph", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(graph, { minLength: 1, maxLength: 3 }), async (graphs) => {
        const programs = await Promise.all(
          graphs.map(({ sizes, steps, kept }, g) =>
            record(device, `graph ${g}`, () => {
              const inputs = sizes.map((size, i) => ({ gpu: input([size]), cpu: values(size, g * 7 + i) }));
              const twins: Twin[] = [...inputs];
              for (const s of steps) twins.push(grow(twins, s));
              return { inputs, last: twins.at(-1)!, some: twins[kept % twins.length]! };
            }),
          ),
        );
        for (const buffer of device.scratch)
          device.gpu.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
        for (const { result } of programs) result.inputs.forEach(({ gpu, cpu }) => gpu.write(cpu));
        for (const program of [...programs, ...programs]) program.run(2);
        for (const program of programs) {
          for (const { gpu, cpu } of [program.result.last, program.result.some]) {
            const got = await gpu.read();
            const scale = Math.max(1, ...cpu.map(Math.abs));
            cpu.forEach((v, i) => expect(Math.abs(got[i]! - v) / scale).toBeLessThan(1e-5));
          }
          program.dispose();
        }
      }),
      { numRuns: 25, seed: 1 },
    );
  });

  it("needs no more memory for a longer chain", async () => {
    const chain = (length: number): Promise<number> =>
      record(device, "chain", () => {
        let y = input([256]);
        for (let i = 0; i < length; i++) y = tanh(y);
        return y;
      }).then((program) => {
        program.dispose();
        return program.memory.scratch;
      });
    expect(await chain(3)).toBe(2 * 1024);
    expect(await chain(40)).toBe(2 * 1024);
  });
});

const bindings = (x: Tensor, y: Tensor): Record<string, Tensor> => ({ x, y });
const forward = (what: object, kernel: Kernel = unary, entry = "forward"): Promise<unknown> =>
  record(device, "wrong", () =>
    call(kernel, entry, {
      bindings: bindings(input([4]), empty([4])),
      params: { n4: 1 },
      constants: { KIND: 0 },
      workgroups: [1, 1, 1],
      ...what,
    }),
  );

describe("what is refused", () => {
  it.each([
    ["a missing binding", { bindings: {} }, /unary\.forward: binding "x" is missing/],
    ["a missing param", { params: {} }, /unary\.forward: param "n4" is missing/],
    ["an unknown param", { params: { n4: 1, n5: 1 } }, /unary\.forward: unknown param "n5"; Params has n4/],
    ["a param that is no u32", { params: { n4: -1 } }, /param "n4" is -1; expected a u32/],
  ])("%s", async (_, what, message) => {
    const error = await forward(what).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(KernelError);
    expect(String(error)).toMatch(message);
  });

  it("an extra binding", async () => {
    const extra = record(device, "wrong", () => {
      const x = input([4]);
      call(unary, "forward", {
        bindings: { x, y: empty([4]), z: x },
        params: { n4: 1 },
        constants: { KIND: 0 },
        workgroups: [1, 1, 1],
      });
    });
    await expect(extra).rejects.toThrow(/unary\.forward: does not bind "z"; it binds x, y/);
  });

  it("an unknown entry point", async () => {
    await expect(forward({}, unary, "main")).rejects.toThrow(
      /unary: no entry point "main"; .* has forward, backward/,
    );
  });

  it("a value that nothing has written", async () => {
    await expect(record(device, "early", () => exp(empty([4], "f32", "hidden")))).rejects.toThrow(
      /early: unary\.forward reads "hidden", which no earlier call of this program writes/,
    );
    await expect(record(device, "late", () => empty([4], "f32", "hidden"))).rejects.toThrow(
      /late: returns "hidden", which no call/,
    );
  });

  it("programs in programs, and ops outside of them", async () => {
    const nested = record(device, "outer", () => void record(device, "inner", () => exp(input([1]))));
    await expect(nested).rejects.toThrow(
      /record\("inner"\): already recording "outer"; programs do not nest/,
    );
    expect(() => input([1])).toThrow(/no program is being recorded/);
    const late = record(device, "async", async () => exp(input([1])));
    await expect(late).rejects.toThrow(/record\("async"\): the function is async/);
  });

  it("values that were not returned: other programs live in their memory", async () => {
    let inner: Tensor | undefined;
    const program = await record(device, "keeper", () => tanh((inner = exp(input([4])))));
    await expect(inner!.read()).rejects.toThrow(
      /read: "exp", whose memory was only lent .*: return it from the function/,
    );
    expect(() => inner!.write([1, 2, 3, 4])).toThrow(/write: "exp"/);
    await expect(record(device, "thief", () => tanh(inner!))).rejects.toThrow(
      /thief: unary\.forward binds "exp"/,
    );
    program.dispose();
  });

  it("and nothing of a refused program stays in memory", async () => {
    const before = device.bytesAllocated;
    await forward({ params: {} }).catch(() => undefined);
    expect(device.bytesAllocated).toBe(before);
  });
});
