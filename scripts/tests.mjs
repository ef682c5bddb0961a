/** The tests through vitest, and the line that closes their log. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runNode } from "./shell.mjs";

/**
 * Runs the tests; the last line on stdout is `N passed, N failed`, with `, N skipped` where there are any.
 * @param {string[]} args for vitest: file filters, `-t name`
 * @returns {Promise<number>} 0 only when vitest says so and nothing failed
 */
export async function runTests(args) {
  const folder = mkdtempSync(join(tmpdir(), "vbon-test-"));
  const file = join(folder, "results.json");
  try {
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
    const code = await runNode([
      "node_modules/vitest/vitest.mjs",
      "run",
      "--config",
      "test/vitest.config.ts",
      ...reporters,
      ...args,
    ]);
    const { passed, failed, skipped } = count(read(file), code);
    console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}`);
    return failed > 0 ? code || 1 : code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * @typedef {{ status: string, assertionResults: { status: string }[] }} FileResult
 * @param {{ testResults: FileResult[] } | undefined} results vitest's JSON report; undefined where it wrote none
 * @param {number} code vitest's exit code
 * @returns {{ passed: number, failed: number, skipped: number }}
 */
export function count(results, code) {
  const files = results?.testResults ?? [];
  const tests = files.flatMap((file) => file.assertionResults.map((test) => test.status));
  // a file that cannot even be loaded, or whose hook throws, fails without any test of its own failing
  const broken = files.filter(
    (f) => f.status === "failed" && f.assertionResults.every((t) => t.status !== "failed"),
  );
  const passed = tests.filter((status) => status === "passed").length;
  const failed = tests.filter((status) => status === "failed").length + broken.length;
  // vitest also fails on an error outside of every test, and when it finds no tests
  return {
    passed,
    failed: failed || (code === 0 ? 0 : 1),
    skipped: tests.length - passed - (failed - broken.length),
  };
}

/** @param {string} file */
function read(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}
