/** Before all tests: a folder for what they write, in place of the system's, that goes when they have ended, whatever they leave. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Processes of tests begin after it, with this environment. */
export function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "vbon-tests-"));
  Object.assign(process.env, { TMPDIR: folder, TEMP: folder, TMP: folder });
  return () => rmSync(folder, { recursive: true, force: true });
}
