/** The public API: its names, and that what trains and generates also loads where there is no Node. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import * as api from "../src/index.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

describe("the public API", () => {
  it("has these names and no others", () => {
    expect(Object.keys(api).toSorted()).toMatchInlineSnapshot(`
      [
        "UserError",
        "backward",
        "blockSource",
        "bonCurve",
        "buildCache",
        "cacheEntry",
        "call",
        "checkOp",
        "createAdamW",
        "createAlignRun",
        "createEngine",
        "createLossScale",
        "createModel",
        "cutPrompts",
        "defineOp",
        "empty",
        "entryCdf",
        "evaluatePolicy",
        "findObjective",
        "functionReward",
        "input",
        "kernelFromSource",
        "loadModel",
        "loadScalarModel",
        "loadTokenizer",
        "modelReward",
        "need",
        "openCacheWriter",
        "openDevice",
        "ops",
        "packDocuments",
        "padBatch",
        "readCache",
        "record",
        "renderReport",
        "resolveSettings",
        "saveGguf",
        "saveModel",
        "schedule",
        "strided",
        "trainLanguageModel",
        "vaderReward",
      ]
    `);
  });

  it("offers the ops by these names", () => {
    expect(Object.keys(api.ops).toSorted().join(" ")).toMatchInlineSnapshot(
      `"add addScalar attention broadcastTo cast clip concat crossEntropy div embedding exp fullKl gelu layerNorm log logSigmoid logSoftmax matmul max maximum mean min minimum mul neg relu rmsNorm rope scale sigmoid silu slice softmax sqrt square sub sum swiglu takeRows tanh tokenLogprobs transpose where"`,
    );
  });

  it("lists no name by a star", () => {
    const source = readFileSync(join(ROOT, "src/index.ts"), "utf8");
    expect(source).not.toMatch(/export \* from/);
  });
});

/** Packages and `node:` modules that loading `entry` brings in at once; type-only and dynamic imports do not count. */
function outsideImports(entry: string): string[] {
  const seen = new Set<string>();
  const outside: string[] = [];
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const code = readFileSync(join(ROOT, file), "utf8");
    for (const [, clause = "", target = ""] of code.matchAll(
      /^(?:import|export) ([^;]*?)from "([^"]+)";$/gms,
    )) {
      if (clause.startsWith("type ")) continue;
      const next = join(dirname(file), target);
      if (!target.startsWith(".")) outside.push(`${file}: ${target}`);
      else if (existsSync(join(ROOT, next))) visit(relative(ROOT, join(ROOT, next)));
    }
  };
  visit(entry);
  return outside;
}

describe("in a browser", () => {
  // Files, tokenizers and checkpoints on disk are Node's; everything that computes is not.
  it.each([
    "src/gpu/device.ts",
    "src/ops/functions.ts",
    "models/model.ts",
    "src/optim/adamw.ts",
    "src/generate/engine.ts",
  ])("%s loads without Node and without packages but the WGSL parser", (entry) => {
    const packages = new Set(outsideImports(entry).map((line) => line.split(": ")[1]));
    packages.delete("wgsl_reflect/wgsl_reflect.module.js");
    expect([...packages]).toEqual([]);
  });

  it("sees the imports that it looks for", () => {
    expect(outsideImports("src/data/lock.ts")).toContain("src/data/lock.ts: node:path");
  });
});
