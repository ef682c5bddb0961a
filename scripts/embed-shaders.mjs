/**
 * Puts all shaders into one module of the build, dist/src/gpu/shaders.js: a page has no disk to read them from, and a bundler takes a
 * module along where it leaves files behind. The last step of `npm run build`.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { root } from "./shell.mjs";

/** @returns {string} the module: sources by name */
export function shaderModule() {
  const folder = join(root, "shaders");
  const names = readdirSync(folder).filter((name) => name.endsWith(".wgsl"));
  const sources = names.map((name) => [
    name.slice(0, -".wgsl".length),
    readFileSync(join(folder, name), "utf8"),
  ]);
  return `/** Made by scripts/embed-shaders.mjs from shaders/. */\nexport const SHADERS = ${JSON.stringify(Object.fromEntries(sources), null, 1)};\n`;
}

export const embedShaders = () => writeFileSync(join(root, "dist/src/gpu/shaders.js"), shaderModule());

if (process.argv[1] === fileURLToPath(import.meta.url)) embedShaders();
