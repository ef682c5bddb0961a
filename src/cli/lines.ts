/** What is typed, or piped in, line by line. */
import { createInterface } from "node:readline";

/** An input that has ended. */
export const NO_LINES: AsyncIterable<string> = { [Symbol.asyncIterator]: () => ({ next: ended }) };

const ended = (): Promise<IteratorReturnResult<undefined>> =>
  Promise.resolve({ done: true, value: undefined });

/**
 * Lines of `input` until it ends or `signal` aborts. A terminal shows a prompt, and its lines can be edited and recalled.
 * @param output where a terminal's prompt goes
 */
export async function* readLines(
  input: NodeJS.ReadStream,
  output: NodeJS.WriteStream,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const terminal = input.isTTY === true;
  const reader = createInterface({ input, terminal, prompt: "> ", ...(terminal && { output }) });
  const close = (): void => reader.close();
  signal.addEventListener("abort", close);
  // A terminal that is read says Ctrl-C to its reader alone.
  reader.on("SIGINT", () => process.emit("SIGINT"));
  try {
    if (terminal) reader.prompt();
    for await (const line of reader) {
      yield line;
      if (signal.aborted) return;
      if (terminal) reader.prompt();
    }
  } finally {
    signal.removeEventListener("abort", close);
    close();
  }
}
