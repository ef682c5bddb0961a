/** A command's settings: the schema's defaults, then `--config` or the run that is resumed, then flags. */
import { join } from "node:path";
import { z } from "zod";
import { exists, readJson } from "../../data/files.ts";
import { isRecord } from "../../data/json.ts";
import { ConfigError } from "../../errors.ts";
import type { AnyVerb } from "../verb.ts";
import { type Flag, flagsOf, readFlags } from "./flags.ts";
import { nearest } from "./nearest.ts";

/** What a command line asks for. */
export type Request =
  | { readonly help: true }
  | { readonly help: false; readonly json: boolean; readonly config: Readonly<Record<string, unknown>> };

/**
 * Reads a command line.
 * @throws ConfigError, in one message, for whatever does not fit the schema; FormatError for an unreadable `--config`
 */
export async function readOptions(verb: AnyVerb, argv: readonly string[]): Promise<Request> {
  const who = `vbon ${verb.name}`;
  const flags = flagsOf(verb.schema);
  const { help, json, configFile, values } = readFlags(who, flags, argv);
  if (help) return { help };
  const fromFile = configFile === undefined ? {} : await readConfig(who, flags, configFile);
  const typed = Object.fromEntries(values);
  const named = String(typed["preset"] ?? fromFile["preset"] ?? "");
  const resumed = typed["resume"] === true ? await resumedConfig(verb, flags, typed) : {};
  const said = { ...fromFile, ...resumed, ...typed };
  return { help, json, config: validate(who, verb, flags, { ...presetOf(verb, named, said), ...said }) };
}

/** A preset's settings, without those that another one rules out. */
function presetOf(
  { presets, oneOf = [] }: AnyVerb,
  name: string,
  said: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const without = oneOf.some((key) => said[key] !== undefined) ? oneOf : [];
  return Object.fromEntries(Object.entries(presets?.[name] ?? {}).filter(([key]) => !without.includes(key)));
}

async function readConfig(
  who: string,
  flags: readonly Flag[],
  path: string,
): Promise<Record<string, unknown>> {
  const value = await readJson(path);
  if (!isRecord(value)) throw new ConfigError(`${who}: ${path}: expected an object of settings`);
  const keys = flags.map((f) => f.key);
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown === undefined) return value;
  const meant = nearest(unknown, keys);
  throw new ConfigError(
    `${who}: ${path}: unknown setting "${unknown}"${meant ? `; did you mean "${meant}"?` : `; expected some of ${keys.join(", ")}`}`,
  );
}

/** The settings of the run in `--out`. A resumed run must be the same run: other values are refused. */
async function resumedConfig(
  verb: AnyVerb,
  flags: readonly Flag[],
  typed: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  const who = `vbon ${verb.name}`;
  const { out } = typed;
  if (typeof out !== "string")
    throw new ConfigError(`${who}: --resume needs --out DIR, the folder of the run to continue`);
  const path = join(out, "config.json");
  if (!(await exists(path)))
    throw new ConfigError(
      `${who}: --resume: there is no run in ${out} (no config.json); leave --resume out to start one`,
    );
  const { resume: _, ...before } = await readConfig(who, flags, path);
  const free = new Set(["out", "resume", ...(verb.changeableOnResume ?? [])]);
  for (const { key, name } of flags) {
    if (free.has(key) || !(key in typed) || JSON.stringify(typed[key]) === JSON.stringify(before[key]))
      continue;
    throw new ConfigError(
      `${who}: --resume: the run in ${out} has ${name} ${JSON.stringify(before[key])}, the command line says ` +
        `${JSON.stringify(typed[key])}; leave --${name} out, or start another run with another --out`,
    );
  }
  return before;
}

function validate(
  who: string,
  verb: AnyVerb,
  flags: readonly Flag[],
  settings: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const missing = flags.find((flag) => flag.required && settings[flag.key] === undefined);
  if (missing)
    throw new ConfigError(`${who}: --${missing.name} ${missing.hint} is required: ${missing.description}`);
  const checked = verb.schema.safeParse(settings);
  if (checked.success) return checked.data;
  throw new ConfigError(
    checked.error.issues.map((issue) => describe(who, verb, flags, issue, settings)).join("\n"),
  );
}

function describe(
  who: string,
  { schema }: AnyVerb,
  flags: readonly Flag[],
  issue: z.core.$ZodIssue,
  settings: Readonly<Record<string, unknown>>,
): string {
  const key = String(issue.path[0] ?? "");
  const flag = flags.find((f) => f.key === key);
  const outside = ["too_small", "too_big", "invalid_type"].includes(issue.code);
  const rule =
    flag?.type === "number" && outside
      ? `expected ${numberRule(schema.shape[key]!)}`
      : issue.message.replace(/^(Invalid input|Too small|Too big|Invalid option): /, "");
  const name = flag?.positional ? flag.hint : `--${flag?.name ?? key}`;
  return `${who}: ${name}: ${rule}; got ${JSON.stringify(settings[key])}${flag ? ` (${flag.description})` : ""}`;
}

/** What JSON Schema says of a number. */
interface NumberSchema {
  readonly type?: unknown;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
}

/** "a whole number of at least 1", "a number above 0 and below 1": what a field takes. */
function numberRule(field: z.ZodType): string {
  const limits = z.toJSONSchema(field) as NumberSchema;
  const { type, minimum, exclusiveMinimum, maximum, exclusiveMaximum } = limits;
  const isWhole = type === "integer";
  const least = minimum ?? (isWhole && exclusiveMinimum !== undefined ? exclusiveMinimum + 1 : undefined);
  const most = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  const bounds = [
    least !== undefined
      ? `of at least ${least}`
      : exclusiveMinimum !== undefined
        ? `above ${exclusiveMinimum}`
        : "",
    most !== undefined
      ? `at most ${most}`
      : exclusiveMaximum !== undefined
        ? `below ${exclusiveMaximum}`
        : "",
  ].filter(Boolean);
  return [isWhole ? "a whole number" : "a number", bounds.join(" and ")].join(" ").trim();
}
