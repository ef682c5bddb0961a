/** The command line inside the test's process: arguments in, exit code and output out. */
import { runCli } from "../../src/cli/run.ts";
import type { Device } from "../../src/gpu/device.ts";

/** What a command did. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `vbon <argv>` on `device`, which stays open; `onStderr` hears what is written and may stop the command. */
export async function vbon(
  device: Device | undefined,
  argv: readonly (string | number)[],
  onStderr: (text: string, stop: () => void) => void = () => {},
): Promise<Outcome> {
  let [stdout, stderr] = ["", ""];
  const stopping = new AbortController();
  const code = await runCli(argv.map(String), {
    stdout: { write: (text: string) => void (stdout += text) },
    stderr: {
      write(text: string): void {
        stderr += text;
        onStderr(text, () => stopping.abort());
      },
    },
    signal: stopping.signal,
    ...(device && { device }),
  });
  return { code, stdout, stderr };
}

/** `{ maxNewTokens: 4, greedy: true }` as `--max-new-tokens 4 --greedy`. */
export function flags(settings: Readonly<Record<string, string | number | boolean | undefined>>): string[] {
  return Object.entries(settings).flatMap(([key, value]) => {
    const name = `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
    if (value === undefined || value === false) return [];
    return value === true ? [name] : [name, String(value)];
  });
}
