/** The module of all shaders that the build makes for pages and bundles. */
import { readdirSync } from "node:fs";
import { expect, it } from "vitest";
import { loadKernel } from "../src/gpu/kernel.ts";
import { hasPackageFiles } from "../src/host.ts";

const { shaderModule } = (await import("../scripts/embed-shaders.mjs" as string)) as {
  shaderModule: () => string;
};

it("holds every shader as its file does", async () => {
  const url = `data:text/javascript,${encodeURIComponent(shaderModule())}`;
  const { SHADERS } = (await import(/* @vite-ignore */ url)) as typeof import("../src/gpu/shaders.d.ts");
  const names = readdirSync("shaders").map((name) => name.replace(".wgsl", ""));
  expect(Object.keys(SHADERS).toSorted()).toEqual(names.toSorted());
  expect(hasPackageFiles()).toBe(true);
  for (const name of names) expect(SHADERS[name]).toBe((await loadKernel(name)).source);
});
