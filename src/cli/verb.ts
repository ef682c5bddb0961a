/** What a command is: one flat schema for its settings, and a function that composes the floors below. */
import { z } from "zod";
import type { Device } from "../gpu/device.ts";
import type { Progress, ProgressOptions } from "./progress.ts";

/** What a command may do with the world around it. */
export interface Io {
  /** A result, on stdout: `record` as one JSON line under `--json`, else `text`. */
  result(record: Readonly<Record<string, unknown>>, text: string): void;
  /** A piece of a text result as it comes, on stdout; nothing under `--json`. */
  stream(text: string): void;
  /** What is typed, or piped in, line by line; until Ctrl-C or the end of the input. */
  lines(): AsyncIterable<string>;
  /** A line for whoever watches, on stderr. */
  note(text: string): void;
  /** A bar, or lines where stderr is no terminal. */
  progress(options: ProgressOptions): Progress;
  /** The device, opened at the first call and closed when the command ends. */
  device(): Promise<Device>;
  /** Aborted by Ctrl-C: finish what is at hand, save, return. */
  readonly signal: AbortSignal;
}

/** A flat object of settings; each field has a description and, unless it is required, a default. */
export type Schema = z.ZodObject<Readonly<Record<string, z.ZodType>>>;

/** A command. */
export interface Verb<S extends Schema = Schema> {
  readonly name: string;
  /** One line for `vbon --help`. */
  readonly summary: string;
  readonly schema: S;
  /** What to type, and what that does. */
  readonly examples: readonly { readonly does: string; readonly line: string }[];
  /**
   * A command that continues a run: with `--resume`, its settings come from `config.json` in the folder `--out`,
   * and only these may be given anew.
   */
  readonly changeableOnResume?: readonly string[];
  /** Settings by the name that `--preset` calls them; flags and `--config` win. */
  readonly presets?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Settings of which one is to be given: those of a preset give way to any of them. */
  readonly oneOf?: readonly string[];
  run(config: z.output<S>, io: Io): Promise<Outcome>;
}

/** "failed": what the command checks did not hold, and it has said so. */
export type Outcome = "failed" | void;

/** A command as the list of all commands sees it. */
export interface AnyVerb extends Omit<Verb, "run"> {
  run(config: never, io: Io): Promise<Outcome>;
}

/**
 * Defines a command. Flags, `--config`, `--help`, validation and the run's `config.json` all come from `schema`.
 * A field's `.meta({ description, hint, heading })` gives its doc line, the name of its value in the help ("FILE"),
 * and a heading to begin a group of flags. With `positional: true` a list takes the arguments that are no flags.
 */
export function defineVerb<S extends Schema>(verb: Verb<S>): Verb<S> {
  return verb;
}

/** A field that takes the arguments that are no flags. */
export const namesField = (description: string): z.ZodDefault<z.ZodArray<z.ZodString>> =>
  z.array(z.string()).default([]).meta({ positional: true, hint: "NAME …", description });
