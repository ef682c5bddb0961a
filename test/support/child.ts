/** Scripts of our own in processes of their own: compiled first, as Node 20 runs no TypeScript. */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** How a process ended, and what it said. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

/** A compiled script. */
export interface Script {
  /** The JavaScript file. */
  readonly path: string;
  /** Runs it; it is killed after `timeout` milliseconds. */
  run(args?: readonly string[], env?: Readonly<Record<string, string>>, timeout?: number): Promise<Ended>;
  dispose(): void;
}

/** Compiles a script of this repository, such as "test/gpu/children/ends.ts", and what it imports. */
export function compileScript(path: string): Script {
  const { folder, dispose } = compile([path]);
  const script = join(folder, "dist", path.replace(/\.ts$/, ".js"));
  return {
    path: script,
    run: (args = [], env = {}, timeout = 60_000) => runScript(script, args, env, timeout),
    dispose,
  };
}

/** Builds the package and runs a script of `scripts/` on it. */
export function builtScript(name: string): Script {
  const { folder, dispose } = compile(["src/index.ts"]);
  cpSync(join(ROOT, "scripts"), join(folder, "scripts"), { recursive: true });
  const script = join(folder, "scripts", name);
  return {
    path: script,
    run: (args = [], env = {}, timeout = 60_000) => runScript(script, args, env, timeout),
    dispose,
  };
}

/** A folder like this one, with `dist/` made from these files and what they import. */
function compile(paths: readonly string[]): { folder: string; dispose(): void } {
  const folder = mkdtempSync(join(tmpdir(), "vbon-child-"));
  for (const name of ["shaders", "checkpoints", "examples", "node_modules", "package.json"])
    symlinkSync(join(ROOT, name), join(folder, name));
  const compilerOptions = {
    noEmit: false,
    declaration: false,
    isolatedDeclarations: false,
    noCheck: true,
    rootDir: ROOT,
    outDir: join(folder, "dist"),
  };
  const files = [...paths.map((path) => join(ROOT, path)), join(ROOT, "src/gpu/wgsl_reflect.d.ts")];
  const config = join(folder, "tsconfig.json");
  writeFileSync(
    config,
    JSON.stringify({ extends: join(ROOT, "tsconfig.json"), compilerOptions, files, include: [] }),
  );
  const tsc = spawnSync(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", config], {
    encoding: "utf8",
  });
  if (tsc.status !== 0) throw new Error(`${paths} does not compile:\n${tsc.stdout}${tsc.stderr}`);
  return { folder, dispose: () => rmSync(folder, { recursive: true, force: true }) };
}

function runScript(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  timeout: number,
): Promise<Ended> {
  const start = performance.now();
  const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, ...env }, timeout });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk));
  return new Promise((resolve) => {
    child.on("close", (code, signal) =>
      resolve({ code, signal, stdout, stderr, ms: performance.now() - start }),
    );
  });
}
