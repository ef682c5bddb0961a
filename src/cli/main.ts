/** The program: `bin/vbon.mjs` imports this file, which runs the command line and sets the exit code. */
import { EXIT, runCli } from "./run.ts";

const stopping = new AbortController();

process.on("SIGINT", () => {
  if (stopping.signal.aborted) process.exit(EXIT.stopped);
  stopping.abort();
  process.stderr.write("\nstopping: finishing what is at hand and saving; Ctrl-C again to quit at once\n");
});
// A reader that has seen enough (`vbon score … | head`) closes the pipe: that is no error of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  signal: stopping.signal,
});
