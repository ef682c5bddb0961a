/** One command line from arguments to exit code. Everything that touches the process is passed in. */
import { ConfigError, messageOf, UserError } from "../errors.ts";
import { type Device, openDevice } from "../gpu/device.ts";
import { env } from "../host.ts";
import { overview, verbHelp } from "./arguments/help.ts";
import { nearest } from "./arguments/nearest.ts";
import { readOptions } from "./arguments/options.ts";
import { withHub } from "./flags/hub.ts";
import { NO_LINES } from "./lines.ts";
import type { Output } from "./output.ts";
import { createProgress, type Progress, type ProgressStream } from "./progress.ts";
import type { AnyVerb, Io, Outcome } from "./verb.ts";
import { verbs } from "./verbs.ts";
import { version } from "./version.ts";

/** The process around a command. */
export interface Surroundings {
  readonly stdout: Output;
  readonly stderr: ProgressStream;
  readonly signal: AbortSignal;
  /** Lines of stdin, until `signal` aborts; by default there are none. */
  readonly lines?: (signal: AbortSignal) => AsyncIterable<string>;
  /** A device to use instead of one of the command's own; it stays open. */
  readonly device?: Device;
  /** The commands, where they are not vbon's own. */
  readonly verbs?: typeof verbs;
}

/** Exit codes. */
export const EXIT = { done: 0, failed: 1, bug: 1, wrongInput: 2, stopped: 130 } as const;

/**
 * Runs `vbon <argv>`.
 * @returns the exit code: 0 done, 1 a failed check or a bug (with its stack), 2 wrong input (one message), 130 stopped by Ctrl-C
 */
export async function runCli(argv: readonly string[], around: Surroundings): Promise<number> {
  try {
    return await dispatch(argv, around);
  } catch (error) {
    if (error instanceof UserError) {
      const stack = Number(env("VBON_DEBUG") ?? 0) >= 1 ? `\n${error.stack ?? ""}` : "";
      around.stderr.write(`${messageOf(error)}${stack}\n`);
      return around.signal.aborted ? EXIT.stopped : EXIT.wrongInput;
    }
    around.stderr.write(
      `this is a bug in vbon, please report it:\n${error instanceof Error ? error.stack : String(error)}\n`,
    );
    return EXIT.bug;
  }
}

async function dispatch(argv: readonly string[], around: Surroundings): Promise<number> {
  const [name, ...rest] = argv;
  const print = (text: string): void => void around.stdout.write(`${text}\n`);
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    print(
      overview(
        await version(),
        await Promise.all(Object.values(around.verbs ?? verbs).map((load) => load())),
      ),
    );
    return EXIT.done;
  }
  if (name === "--version" || name === "-v") {
    print(await version());
    return EXIT.done;
  }
  return runVerb(await findVerb(name, around.verbs ?? verbs), rest, around);
}

async function findVerb(name: string, among: typeof verbs): Promise<AnyVerb> {
  const load = Object.hasOwn(among, name) ? among[name] : undefined;
  if (load) return load();
  const meant = nearest(name, Object.keys(among));
  const known = Object.keys(among).join(", ");
  throw new ConfigError(
    `vbon: unknown command "${name}"; ${meant ? `did you mean "${meant}"? ` : ""}The commands are ${known}`,
  );
}

async function runVerb(verb: AnyVerb, argv: readonly string[], around: Surroundings): Promise<number> {
  const request = await readOptions(verb, argv);
  if (request.help) {
    around.stdout.write(`${verbHelp(verb)}\n`);
    return EXIT.done;
  }
  const { io, close } = createIo(request.json, {
    ...around,
    signal: stopSignal(verb, request.config, around),
  });
  let outcome: Outcome;
  try {
    outcome = await verb.run((await withHub(request.config, io)) as never, io);
  } finally {
    await close();
  }
  if (around.signal.aborted) return EXIT.stopped;
  return outcome === "failed" ? EXIT.failed : EXIT.done;
}

/** A command that only prints has nothing to go on for without a reader; one that writes files finishes them unseen. */
function stopSignal(
  { schema }: AnyVerb,
  config: Readonly<Record<string, unknown>>,
  { signal, stdout }: Surroundings,
): AbortSignal {
  const writesFiles = "out" in schema.shape || config["output"] !== undefined;
  return writesFiles || !stdout.closed ? signal : AbortSignal.any([signal, stdout.closed]);
}

function createIo(
  json: boolean,
  { stdout, stderr, signal, lines, device: given }: Surroundings,
): { io: Io; close(): Promise<void> } {
  let opened: Promise<Device> | undefined;
  let running: Progress | undefined;
  const io: Io = {
    result: (record, text) => void stdout.write(`${json ? JSON.stringify(record) : text}\n`),
    stream: (text) => void (json || stdout.write(text)),
    lines: () => lines?.(signal) ?? NO_LINES,
    note: (text) => void stderr.write(`${running && stderr.isTTY ? "\r\u001B[K" : ""}${text}\n`),
    progress(options) {
      const shown = createProgress(stderr, options);
      running = shown;
      const stop = (): void => {
        shown.stop();
        if (running === shown) running = undefined;
      };
      return { ...shown, stop };
    },
    device: () => (opened ??= given ? Promise.resolve(given) : openDevice()),
    signal,
  };
  const close = async (): Promise<void> => {
    running?.stop();
    if (!given) await (await opened?.catch(() => undefined))?.close();
  };
  return { io, close };
}
