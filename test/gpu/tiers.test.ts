/** Tiers are read from what a device says of itself; kernels are spelled for its compiler. */
import { describe, expect, it } from "vitest";
import { askForLanes, oldMatrixDialect } from "../../src/gpu/dialect.ts";
import { type Adapter, lanesOf, matrixShapes, probeTiers } from "../../src/gpu/tiers.ts";

const adapter = (min: number, max: number, ...features: string[]): Adapter => ({
  features: new Set(features),
  info: { subgroupMinSize: min, subgroupMaxSize: max } as Adapter["info"],
});

describe("lanes of a subgroup", () => {
  it.each([
    [adapter(0, 0), 0, false],
    [adapter(8, 8), 0, false],
    [adapter(8, 8, "subgroups"), 8, false],
    [adapter(32, 32, "subgroups", "subgroup-size-control"), 32, false],
    [adapter(8, 32, "subgroups"), 0, false],
    [adapter(8, 32, "subgroups", "subgroup-size-control"), 32, true],
    [adapter(32, 64, "subgroups", "subgroup-size-control"), 32, true],
    [adapter(4, 16, "subgroups", "subgroup-size-control"), 16, true],
    [adapter(64, 128, "subgroups", "subgroup-size-control"), 0, false],
  ])("%j: %i, asked for: %s", (given, size, asked) => {
    expect(lanesOf(given)).toMatchObject({ size, asked });
  });
});

describe("subgroup matrices", () => {
  const half = { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 };
  const listed = [half, { ...half, resultComponentType: "f16" }, { ...half, componentType: "i8" }];
  const lanes = { size: 32, asked: false, why: "32 lanes" };

  it("are those that add up in f32", () => {
    const info = { subgroupMatrixConfigs: listed } as unknown as Adapter["info"];
    expect(matrixShapes({ features: new Set(), info })).toEqual([
      { component: "f16", result: "f32", M: 16, N: 16, K: 16 },
    ]);
  });

  it("say why they are absent", () => {
    const none = { dialect: "modes", shapes: [] } as const;
    const why = (features: string[], matrix?: typeof none): string =>
      probeTiers(new Set(features), lanes, matrix).get("matrix")!.why;
    expect(why([])).toBe("no feature chromium-experimental-subgroup-matrix");
    expect(why(["chromium-experimental-subgroup-matrix"])).toMatch(/neither dialect/);
    expect(why(["chromium-experimental-subgroup-matrix"], none)).toMatch(/lists no shape/);
  });
});

describe("dialects", () => {
  it("moves the layout of a matrix from the type to the arguments", () => {
    const code =
      "let m = subgroupMatrixLoad<subgroup_matrix_left<f16, 8, 8>, row_major>(&tile, at(i, 2u) * 8u, 8u);\n" +
      "subgroupMatrixStore<col_major>(&c, 0u, m, STRIDE);";
    expect(oldMatrixDialect(code)).toBe(
      "let m = subgroupMatrixLoad<subgroup_matrix_left<f16, 8, 8>>(&tile, at(i, 2u) * 8u, false, 8u);\n" +
        "subgroupMatrixStore(&c, 0u, m, true, STRIDE);",
    );
  });

  it("asks for lanes where subgroups are used, and nowhere else", () => {
    const code = "enable subgroups;\n@compute @workgroup_size(64) fn f() {}";
    expect(askForLanes(code, 16)).toBe(
      "enable subgroups;\nenable subgroup_size_control;\n@subgroup_size(16) @compute @workgroup_size(64) fn f() {}",
    );
    expect(askForLanes("@compute @workgroup_size(64) fn f() {}", 16)).not.toContain("subgroup_size");
  });
});
