/**
 * `node scripts/bootstrap.mjs demo|test|bench|setup [arguments]`: the first command on a fresh clone, and every later one.
 * Installs the packages, builds, makes sure that there is a WebGPU adapter (each only where needed), then runs
 * the demo, the tests or the benchmarks. Node built-ins only: nothing is installed when it starts. Progress goes to stderr.
 * `--adapter swiftshader` uses that software adapter even where there is a better one.
 */
import { ensureAdapter } from "./adapter.mjs";
import { buildWhenOld, checkNode, installWhenOld } from "./steps.mjs";
import { runNode, say } from "./shell.mjs";
import { runTests } from "./tests.mjs";

const USAGE =
  "usage: node scripts/bootstrap.mjs demo|test|bench|setup [--adapter auto|swiftshader] [arguments]";

/**
 * @param {string[]} argv
 * @returns {{ verb: string, adapter: string, rest: string[] }}
 */
function parse(argv) {
  const [verb = "", ...rest] = argv;
  const at = rest.indexOf("--adapter");
  const adapter = at < 0 ? "auto" : (rest.splice(at, 2)[1] ?? "");
  if (!["demo", "test", "bench", "setup"].includes(verb) || !["auto", "swiftshader"].includes(adapter))
    throw new Error(USAGE);
  return { verb, adapter, rest };
}

/** @returns {Promise<number>} the exit code */
async function main() {
  const { verb, adapter, rest } = parse(process.argv.slice(2));
  checkNode(process.versions.node);
  await installWhenOld();
  await buildWhenOld();
  await ensureAdapter(adapter);
  if (verb === "demo" || verb === "bench") return runNode(["bin/vbon.mjs", verb, ...rest]);
  if (verb === "test") return runTests(rest);
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
