/** The public API: its names, and that what trains and generates also loads where there is no Node. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as browser from "../src/browser.ts";
import * as api from "../src/index.ts";
import { loadedBy } from "./support/imports.ts";

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
        "fitExponential",
        "functionReward",
        "input",
        "kernelFromSource",
        "loadModel",
        "loadScalarModel",
        "loadTokenizer",
        "modelFiles",
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
        "stopAt",
        "strided",
        "trainLanguageModel",
        "trainTokenizer",
        "vaderReward",
      ]
    `);
  });

  it("offers the ops by these names", () => {
    expect(Object.keys(api.ops).toSorted().join(" ")).toMatchInlineSnapshot(
      `"add addScalar attention broadcastTo cast clip concat crossEntropy div embedding exp fullKl gelu layerNorm log logSigmoid logSoftmax matmul max maximum mean min minimum mul neg relu rmsNorm rope scale sigmoid silu slice softmax sqrt square sub sum swiglu takeRows tanh tokenLogprobs transpose where"`,
    );
  });

  it("lists every name, but for those that it shares with the browser's", () => {
    const stars = ["src/index.ts", "src/browser.ts"].flatMap(
      (file) => readFileSync(new URL(`../${file}`, import.meta.url), "utf8").match(/export \* from.*/g) ?? [],
    );
    expect(stars).toEqual(['export * from "./browser.ts";']);
  });
});

describe("in a browser", () => {
  it.each([
    "src/gpu/device.ts",
    "src/ops/functions.ts",
    "models/model.ts",
    "src/optim/adamw.ts",
    "src/generate/engine.ts",
  ])("%s loads without Node and without packages but the WGSL parser", (entry) => {
    expect([...loadedBy(entry).outside]).toEqual(["wgsl_reflect/wgsl_reflect.module.js"]);
  });

  it("lacks these names, which need a disk or large packages", () => {
    const lacking = Object.keys(api).filter((name) => !(name in browser));
    expect(lacking.toSorted().join(" ")).toMatchInlineSnapshot(
      `"cutPrompts fitExponential openCacheWriter readCache renderReport saveGguf saveModel vaderReward"`,
    );
    expect(Object.keys(browser).filter((name) => !(name in api))).toEqual([]);
  });
});
