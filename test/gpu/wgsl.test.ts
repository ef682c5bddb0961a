/** From a WGSL file to one kernel: cutting, unrolling, reflecting, packing parameters. */
import { describe, expect, it } from "vitest";
import { KernelError } from "../../src/errors.ts";
import { bytesOf, grid } from "../../src/gpu/call.ts";
import { packParams, specialise } from "../../src/gpu/kernel.ts";
import { virtualStorage } from "../../src/gpu/storage.ts";
import { evaluate, unroll } from "../../src/gpu/unroll.ts";
import { cut, mentions } from "../../src/gpu/wgsl.ts";

const names = new Map([
  ["N", 8],
  ["L", 4],
]);

describe("unroll", () => {
  it("writes loops out, nested ones too", () => {
    const source =
      "a\n//: for i in 0..2\nx$i\n//: for j in i+1..L\n  y[$(i*N + j)] = $j;\n//: end\n//: end\nb";
    expect(unroll(source, names).split("\n")).toEqual([
      "a",
      "x0",
      "  y[1] = 1;",
      "  y[2] = 2;",
      "  y[3] = 3;",
      "x1",
      "  y[10] = 2;",
      "  y[11] = 3;",
      "b",
    ]);
  });

  it("leaves a loop without trips out, and a text without directives alone", () => {
    expect(unroll("a\n//: for i in 3..3\nx\n//: for j in 0..9\ny\n//: end\n//: end\nb", names)).toBe("a\nb");
    expect(unroll("let x = 1; // 100 % $", new Map())).toBe("let x = 1; // 100 % $");
  });

  it.each([
    ["1+2*3", 7],
    ["(1+2)*3", 9],
    ["N/3", 2],
    ["N % 3 + L", 6],
    ["10-2-3", 5],
    ["2*(N-(L+1))", 6],
  ])("reckons %s = %i", (expression, value) => expect(evaluate(expression, names)).toBe(value));

  it.each([
    ["//: for i in 0..2\nx", /line 1: "\/\/: for" without "\/\/: end"/],
    ["x\n//: end", /line 2: "\/\/: end" without "\/\/: for"/],
    ["//: for i in 0..M\nx\n//: end", /unknown name "M"; known: N, L/],
    ["$(1+)", /"1\+" ends too early/],
    ["$((1)", /a "\$\(" is not closed/],
    ["$(1 2)", /cannot read "1 2"/],
  ])("refuses %j", (source, message) => {
    expect(() => unroll(source, names)).toThrow(KernelError);
    expect(() => unroll(source, names)).toThrow(message);
  });
});

const SOURCE = `// A file of two kernels.
enable subgroups;
struct Params { n: u32, scale: f32, shift: i32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

fn lanes(v: f32) -> f32 {
  return subgroupShuffleXor(v, 1u);
}

fn half(v: f32) -> f32 { return v / 2.0; }

@compute @workgroup_size(64)
fn plain(@builtin(global_invocation_id) id: vec3u) {
  y[id.x] = half(x[id.x].x) * params.scale; // not ids
}

@compute @workgroup_size(64)
fn spread(@builtin(global_invocation_id) id: vec3u) {
  ids[id.x] = u32(lanes(f32(params.n)));
}
`;
const kernel = { name: "two", source: SOURCE };

describe("cut", () => {
  it("keeps one entry point and what it calls", () => {
    const { code, entries } = cut(SOURCE, "plain");
    expect(entries).toEqual(["plain", "spread"]);
    expect(code).toContain("fn half");
    expect(code).not.toMatch(/fn lanes|fn spread|enable subgroups/);
    expect(cut(SOURCE, "spread").code).toMatch(/enable subgroups;[^]*fn lanes[^]*fn spread/);
  });

  it("sees names in code, not in comments or members", () => {
    expect(mentions("a.x + y", "x")).toBe(false);
    expect(mentions("a + xy", "x")).toBe(false);
    expect(mentions("a // x", "x")).toBe(false);
    expect(mentions("x[0]", "x")).toBe(true);
  });
});

describe("specialise", () => {
  it("binds what the entry point uses, by name", () => {
    const { resources, params, key } = specialise(kernel, "plain", { L: 4, E: "f32" });
    expect(key).toBe("two.plain(L=4,E=f32)");
    expect(resources).toEqual([
      { name: "x", binding: 0, writable: false, floats: 32 },
      { name: "y", binding: 1, writable: true, floats: 32 },
    ]);
    expect(params).toMatchObject({ binding: 3, size: 12 });
    expect(specialise(kernel, "spread").resources).toEqual([
      { name: "ids", binding: 2, writable: true, floats: 0 },
    ]);
  });

  it("puts constants after directives, and makes each kernel once", () => {
    const once = specialise(kernel, "spread", { L: 8 });
    expect(once.code).toMatch(/^enable subgroups;\nconst L = 8;\n/);
    expect(specialise(kernel, "spread", { L: 8 })).toBe(once);
    expect(specialise(kernel, "spread", { L: 16 })).not.toBe(once);
  });
});

describe("packParams", () => {
  const spec = specialise(kernel, "plain");

  it("lays fields out as the struct says, in whole vec4s", () => {
    const bytes = new DataView(packParams(spec, { shift: -2, n: 2 ** 32 - 1, scale: 0.5 })!);
    expect(bytes.byteLength).toBe(16);
    expect([bytes.getUint32(0, true), bytes.getFloat32(4, true), bytes.getInt32(8, true)]).toEqual([
      2 ** 32 - 1,
      0.5,
      -2,
    ]);
  });

  it.each([
    [{ n: 1, scale: 1 }, /param "shift" is missing/],
    [{ n: 1.5, scale: 1, shift: 0 }, /param "n" is 1\.5; expected a u32/],
    [{ n: 1, scale: 1, shift: 0, more: 1 }, /unknown param "more"; Params has n, scale, shift/],
  ])("refuses %j", (values, message) =>
    expect(() => packParams(spec, values as Record<string, number>)).toThrow(message),
  );

  it("knows kernels without any", () => {
    const bare = specialise({ name: "bare", source: "@compute @workgroup_size(1)\nfn go() {\n}\n" }, "go");
    expect(packParams(bare, {})).toBeUndefined();
    expect(() => packParams(bare, { n: 1 })).toThrow(/bare\.go: takes no params, got n/);
  });
});

describe("grids and views", () => {
  it.each([[1], [65535], [65536], [1_000_003]])("%i workgroups fit two dimensions", (groups) => {
    const [x, y, z] = grid(groups);
    expect(Math.max(x, y)).toBeLessThanOrEqual(65535);
    expect(z).toBe(1);
    expect(x * y).toBeGreaterThanOrEqual(groups);
    expect(x * y - groups).toBeLessThan(y);
  });

  it("a view without bytes is the rest of its storage, which is whole vec4s", () => {
    const storage = virtualStorage(100, "s");
    expect(storage.bytes).toBe(112);
    expect(bytesOf({ storage })).toBe(112);
    expect(bytesOf({ storage, offset: 16 })).toBe(96);
    expect(bytesOf({ storage, bytes: 32 })).toBe(32);
  });
});
