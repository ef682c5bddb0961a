/** stdout, which may end before the command does: its reader has seen enough (`vbon score … | head`), or its disk is full. */
import { refusal } from "../data/files.ts";

/** Where results go. */
export interface Output {
  /** Writes, or does nothing once that is in vain. */
  write(text: string): unknown;
  /** Aborted when nothing more arrives. */
  readonly closed?: AbortSignal;
}

/** A stream of Node's: its errors come as events. */
interface Stream {
  write(text: string): unknown;
  on(event: "error", listener: (error: NodeJS.ErrnoException) => void): unknown;
}

/**
 * Wraps process.stdout.
 * @param refused hears, in one line, why nothing can be written; a closed pipe is no error of anybody's
 */
export function createOutput(stream: Stream, refused: (message: string) => void): Output {
  const closing = new AbortController();
  const { signal } = closing;
  stream.on("error", (error) => {
    if (signal.aborted) return;
    if (error.code !== "EPIPE") refused(`stdout: cannot be written ${refusal(error)}`);
    closing.abort();
  });
  return { write: (text) => signal.aborted || stream.write(text), closed: signal };
}
