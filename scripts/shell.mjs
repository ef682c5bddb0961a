/** Running other programs, and saying so. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

/** The clone's root, with a slash at its end. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * One line on stderr: stdout belongs to results.
 * @param {string} line
 */
export function say(line) {
  process.stderr.write(`bootstrap: ${line}\n`);
}

/**
 * Runs a program in the clone's root and resolves to its exit code; its output goes to our stderr.
 * @param {string} command
 * @param {string[]} args
 * @param {import("node:child_process").SpawnOptions} [options]
 * @returns {Promise<number>} 127 where the program does not exist, 128 where a signal ended it
 */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ["ignore", process.stderr, process.stderr],
      ...options,
    });
    const leaveItToTheChild = () => {};
    process.on("SIGINT", leaveItToTheChild); // Ctrl-C reaches the child as well, which may have to save its work
    const end = (/** @type {number} */ code) => {
      process.off("SIGINT", leaveItToTheChild);
      resolve(code);
    };
    child.on("error", () => end(127));
    child.on("close", (code) => end(code ?? 128));
  });
}

/**
 * Runs a script of ours with this Node, on our terminal.
 * @param {string[]} args
 * @returns {Promise<number>}
 */
export function runNode(args) {
  return run(process.execPath, args, { stdio: "inherit" });
}

/**
 * Runs npm: the one that started us where there is one.
 * @param {string[]} args
 * @returns {Promise<number>}
 */
export function runNpm(args) {
  const npm = process.env["npm_execpath"];
  if (npm?.endsWith("npm-cli.js")) return run(process.execPath, [npm, ...args]);
  return run("npm", args, { shell: process.platform === "win32" });
}

/**
 * Runs a program and returns what it printed on stdout.
 * @param {string} command
 * @param {string[]} args
 * @returns {Promise<{ code: number, stdout: string, stderr: string }>}
 */
export function capture(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.stderr.on("data", (chunk) => (stderr += chunk));
    child.on("error", (error) => resolve({ code: 127, stdout, stderr: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 128, stdout, stderr }));
  });
}
