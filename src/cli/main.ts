/** The program: `bin/vbon.mjs` imports this file, which runs the command line and sets the exit code. */
import { readLines } from "./lines.ts";
import { createOutput } from "./output.ts";
import { EXIT, runCli } from "./run.ts";

const stopping = new AbortController();

process.on("SIGINT", () => {
  if (stopping.signal.aborted) process.exit(EXIT.stopped);
  stopping.abort();
  process.stderr.write("\nstopping: finishing what is at hand and saving; Ctrl-C again to quit at once\n");
});
// Whoever watches has seen enough (`2>&1 | head`): the work is worth finishing all the same.
process.stderr.on("error", () => {});
const stdout = createOutput(process.stdout, (refusal) => {
  process.stderr.write(`${refusal}\n`);
  process.exitCode = EXIT.wrongInput;
});

const code = await runCli(process.argv.slice(2), {
  stdout,
  stderr: process.stderr,
  lines: (signal) => readLines(process.stdin, process.stderr, signal),
  signal: stopping.signal,
});
if (code !== EXIT.done) process.exitCode = code;
