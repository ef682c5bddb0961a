/** The command that a set of settings stands for. */
import type { Schema } from "../verb.ts";
import { flagsOf } from "./flags.ts";

/** `vbon <verb>` with the flags that differ from their defaults, quoted for a POSIX shell. */
export function commandLine(verb: string, schema: Schema, settings: object): string {
  const given = settings as Readonly<Record<string, unknown>>;
  const flags = flagsOf(schema).flatMap(({ key, name, default: fallback }) => {
    const value = given[key];
    if (key === "resume" || value === undefined || value === fallback) return [];
    return [value === true ? `--${name}` : `--${name} ${quoted(String(value))}`];
  });
  return ["vbon", verb, ...flags].join(" ");
}

const quoted = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
