/** Cold start: the built command line in a new process whose shader cache is empty. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Prepared } from "../serve.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const STORIES = join(ROOT, "../shared/data/stories260K");
const MODEL = existsSync(STORIES) ? STORIES : join(ROOT, "checkpoints/movie-lm");

/** One call = one process, from its start until the first character of its text; it is ended there. */
export async function prepareStart(): Promise<Prepared> {
  if (!existsSync(join(ROOT, "dist/src/cli/main.js")))
    throw new Error("start: expected the built package; run `npm run build` first");
  let ended = Promise.resolve();
  const run = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) {
      await ended;
      const process = startProcess();
      ended = process.ended;
      await process.firstText;
    }
  };
  return { jobs: [{ name: "start", units: 1, run }], check: `the text of ${MODEL} begins` };
}

interface Started {
  /** Its first characters are there. */
  readonly firstText: Promise<void>;
  readonly ended: Promise<void>;
}

function startProcess(): Started {
  const cache = mkdtempSync(join(tmpdir(), "vbon-cold-"));
  const env = { ...process.env, MESA_SHADER_CACHE_DIR: cache, XDG_CACHE_HOME: cache };
  const args = [join(ROOT, "bin/vbon.mjs"), "generate", "--model", MODEL, "--prompt", "Once upon a time"];
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (text: Buffer) => (said += text.toString()));
  const ended = new Promise<void>((resolve) => {
    child.on("close", () => {
      rmSync(cache, { recursive: true, force: true });
      resolve();
    });
  });
  const firstText = new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => {
      child.kill("SIGKILL");
      resolve();
    });
    child.on("error", reject);
    child.on("close", () => reject(new Error(`start: vbon generate wrote nothing: ${said.trim()}`)));
  });
  return { firstText, ended };
}
