/** Tables of tunings: where they come from, what they may change, and what they may not. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { tuneTasks } from "../../src/bench/tune.ts";
import { openDevice } from "../../src/gpu/device.ts";
import { adapterKey, loadTable, merge, readTuneFile } from "../../src/gpu/tune.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { matmulTunings } from "../../src/ops/product.ts";
import { classOf } from "../../src/ops/matmul-form.ts";
import { input, record } from "../../src/tensor/tensor.ts";

const folder = mkdtempSync(join(tmpdir(), "vbon-tune-"));
afterEach(() => vi.unstubAllEnvs());

describe("the file", () => {
  const write = (text: string): void => {
    mkdirSync(join(folder, "vbon"), { recursive: true });
    writeFileSync(join(folder, "vbon", "tune.json"), text);
  };
  const here = (mode: string): void => {
    vi.stubEnv("XDG_CACHE_HOME", folder);
    vi.stubEnv("VBON_TUNE", mode);
  };
  it("is read for its adapter only, unless VBON_TUNE says otherwise", async () => {
    write(JSON.stringify({ version: 1, adapters: { mine: { matmul: { "nn N64 K64": { KC: 64 } } } } }));
    here("");
    expect(await loadTable("mine")).toEqual({ matmul: { "nn N64 K64": { KC: 64 } } });
    expect(await loadTable("another")).toEqual({});
    here("off");
    expect(await loadTable("mine")).toEqual({});
    here("shipped");
    expect(await loadTable("mine")).toEqual({});
  });
  it.each(["{", '{"version":2,"adapters":{}}', '{"version":1,"adapters":null}', "null"])(
    "%s is said once and left aside",
    async (text) => {
      write(text);
      here("");
      const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
      expect(await loadTable("mine")).toEqual({});
      expect(warn.mock.calls.flat().join()).toMatch(/tune\.json: expected tables of `vbon tune`/);
      warn.mockRestore();
      await expect(readTuneFile(join(folder, "vbon", "tune.json"))).rejects.toThrow(/--forget/);
    },
  );
  it("need not be there", async () => {
    expect(await readTuneFile(join(folder, "nothing.json"))).toEqual({ version: 1, adapters: {} });
  });
  it("merges class by class, the later one wins", () => {
    expect(merge({ matmul: { a: { KC: 64 }, b: { KC: 64 } } }, undefined, { matmul: { a: {} } })).toEqual({
      matmul: { a: {}, b: { KC: 64 } },
    });
  });
  it("knows an adapter by its driver, its lanes, and the processor that runs its shaders", () => {
    const info = {
      vendor: "mesa",
      architecture: "software",
      device: "",
      description: "llvmpipe 25",
    } as GPUAdapterInfo;
    expect(adapterKey(info, 8, false)).toBe("mesa, software, llvmpipe 25, 8 lanes");
    expect(adapterKey(info, 8, true)).toMatch(/^mesa, software, llvmpipe 25, 8 lanes, ./);
  });
});

describe("products", async () => {
  const device = await openDevice({ validation: true });
  afterAll(() => device.close());

  it("have one class for all numbers of rows, and one task a class", () => {
    const product = { N: 384, K: 384, transposeA: false, transposeB: true };
    expect(classOf(product, ["f32", "f32"])).toBe("nt N512 K512");
    const shapes = [
      [8, 384, 384],
      [2048, 400, 300],
    ] as const;
    const tasks = tuneTasks(shapes, ["f32"]);
    expect(tasks.map((task) => task.class)).toEqual(["nn N512 K512", "nt N512 K512", "tn N512 K512"]);
    expect(tasks[0]!.shape).toEqual([2048, 400, 300]);
  });

  it("have other classes for operands in f16: what is fastest there is another kernel", () => {
    const product = { N: 384, K: 384, transposeA: false, transposeB: false };
    expect(classOf(product, ["f16", "f16"])).toBe("nn N512 K512 f16");
    expect(classOf(product, ["f32", "f16"])).toBe("nn N512 K512 f32 by f16");
    const tasks = tuneTasks([[8, 384, 384]], ["f32", "f16"]);
    expect(tasks.map(({ class: name, dtype }) => [name, dtype])).toEqual([
      ...["nn", "nt", "tn"].map((mode) => [`${mode} N512 K512`, "f32"]),
      ...["nn", "nt", "tn"].map((mode) => [`${mode} N512 K512 f16`, "f16"]),
    ]);
  });

  it("of f16 operands are not computed by what was found for f32", async () => {
    const form = async (dtype: "f32" | "f16"): Promise<string> => {
      device.tuning = { matmul: { "nn N32 K32": { form: "plain" } } };
      const program = await record(device, "tuned", () =>
        matmul(input([8, 32], dtype), input([32, 32], dtype), undefined),
      );
      device.tuning = {};
      const kernels = program.describe();
      program.dispose();
      return kernels;
    };
    expect(await form("f32")).toMatch(/matmul-plain/);
    expect(await form("f16")).not.toMatch(/matmul-plain/);
  });

  /** Bits of the first rows of a product of `rows` rows, under a table. */
  async function firstRows(rows: number, table: typeof device.tuning): Promise<Float32Array> {
    const [N, K] = [64, 192];
    device.tuning = table;
    const program = await record(device, "tuned", () => {
      const [a, b] = [input([rows, K]), input([K, N])];
      return { a, b, c: matmul(a, b, undefined) };
    });
    device.tuning = {};
    const value = (i: number): number => Math.sin(i * 1.7);
    program.result.a.write(Float32Array.from({ length: rows * K }, (_, i) => value(i)));
    program.result.b.write(Float32Array.from({ length: K * N }, (_, i) => value(i + 5)));
    program.run();
    const c = await program.result.c.read();
    program.dispose();
    return Float32Array.from(c.slice(0, 3 * N));
  }

  it.each(matmulTunings(device, "nn", "f32").map((tuning) => [JSON.stringify(tuning), tuning] as const))(
    "give a row the same bits in any number of rows under %s",
    async (_, tuning) => {
      const table = { matmul: { "nn N64 K256": tuning } };
      const few = await firstRows(3, table);
      expect(await firstRows(700, table)).toEqual(few);
    },
  );

  it("take a tuned form, and their own choice where the table names none that fits", async () => {
    const expected = await firstRows(3, {});
    const plain = await firstRows(3, { matmul: { "nn N64 K256": { form: "plain" } } });
    expect(await firstRows(3, { matmul: { "nn N64 K256": { form: "no such form" } } })).toEqual(expected);
    const worst = Math.max(...expected.map((x, i) => Math.abs(x - plain[i]!)));
    expect(worst).toBeLessThan(1e-4);
    expect(device.specialisations.some(({ key }) => key.startsWith("matmul-plain"))).toBe(true);
  });
});
