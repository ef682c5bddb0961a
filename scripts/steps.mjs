/** The steps before an adapter is looked for: Node's version, the packages, the build. */
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { embedShaders } from "./embed-shaders.mjs";
import { root, run, runNpm, say } from "./shell.mjs";

/**
 * @param {string} version such as 20.19.0
 * @throws Error when it is older than 20.19
 */
export function checkNode(version) {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  throw new Error(
    `expected Node 20.19 or newer; this is ${version}. Install a newer one from https://nodejs.org`,
  );
}

/** `npm ci`, when there is no node_modules or the lock file is newer. */
export async function installWhenOld() {
  const installed = modified("node_modules/.package-lock.json");
  if (installed >= modified("package-lock.json")) return;
  say(`npm ci (${installed ? "package-lock.json is newer than node_modules" : "node_modules is missing"})`);
  const code = await runNpm(["ci", "--no-audit", "--no-fund"]);
  if (code !== 0) throw new Error(`npm ci failed with exit code ${code}; its own message is above`);
}

/** Written after a build that went well; kept out of dist/, which is published. */
const STAMP = "node_modules/.vbon-built";

/** `npm run build`, when dist/ is missing or older than what it is made from (deleted files count: folders change too). */
export async function buildWhenOld() {
  const sources = ["src", "models", "shaders", "tsconfig.json", "tsconfig.build.json"];
  const built = existsSync(join(root, "dist/src/host.js")) ? modified(STAMP) : 0;
  if (built && built >= Math.max(...sources.map(newest))) return;
  say(`building dist/ (${built ? "sources have changed" : "not built yet"})`);
  rmSync(join(root, "dist"), { recursive: true, force: true });
  const code = await run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"]);
  if (code !== 0) throw new Error("the build failed: fix the type errors above");
  embedShaders();
  writeFileSync(join(root, STAMP), "");
}

/** @param {string} path @returns {number} milliseconds; 0 where there is no such file */
function modified(path) {
  return statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** @param {string} path @returns {number} the latest change of a file, or of a folder and all in it */
function newest(path) {
  const info = statSync(join(root, path), { throwIfNoEntry: false });
  if (!info?.isDirectory()) return info?.mtimeMs ?? 0;
  return Math.max(info.mtimeMs, ...readdirSync(join(root, path)).map((name) => newest(join(path, name))));
}
