/** Flags from a schema: what there is, what was typed, and what is wrong with it. */
import { parseArgs } from "citty";
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import type { Schema } from "../verb.ts";
import { nearest } from "./nearest.ts";

/** One setting as the command line sees it. */
export interface Flag {
  /** The field of the schema: `gradClip`. */
  readonly key: string;
  /** `grad-clip` */
  readonly name: string;
  readonly type: "string" | "number" | "boolean" | "enum" | "list";
  readonly options: readonly string[];
  readonly description: string;
  /** What stands for the value in the help. */
  readonly hint: string;
  readonly heading: string | undefined;
  readonly required: boolean;
  readonly default: unknown;
  /** A list that takes the arguments that are no flags. */
  readonly positional: boolean;
}

/** `gradClip` as a flag: `grad-clip`. */
export const kebab = (key: string): string => key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);

/** The flags of a schema, in its order. */
export function flagsOf(schema: Schema): Flag[] {
  return Object.entries(schema.shape).map(([key, field]) => {
    const { inner, required, fallback } = unwrap(field);
    const { type, options } = kindOf(key, inner);
    const meta = field.meta() ?? {};
    const hint = typeof meta["hint"] === "string" ? meta["hint"] : defaultHint(type, options);
    const heading = typeof meta["heading"] === "string" ? meta["heading"] : undefined;
    const description = meta.description ?? "";
    const shared = { key, name: kebab(key), type, options, description, hint, heading, required };
    return { ...shared, default: fallback, positional: meta["positional"] === true };
  });
}

function unwrap(field: z.ZodType): { inner: z.ZodType; required: boolean; fallback: unknown } {
  if (field instanceof z.ZodDefault) {
    return { inner: field.def.innerType as z.ZodType, required: false, fallback: field.def.defaultValue };
  }
  if (field instanceof z.ZodOptional) {
    return { inner: field.def.innerType as z.ZodType, required: false, fallback: undefined };
  }
  return { inner: field, required: true, fallback: undefined };
}

function kindOf(key: string, field: z.ZodType): Pick<Flag, "type" | "options"> {
  if (field instanceof z.ZodBoolean) return { type: "boolean", options: [] };
  if (field instanceof z.ZodNumber) return { type: "number", options: [] };
  if (field instanceof z.ZodString) return { type: "string", options: [] };
  if (field instanceof z.ZodArray) return { type: "list", options: [] };
  if (field instanceof z.ZodEnum) return { type: "enum", options: field.options.map(String) };
  throw new TypeError(`flags: ${key} is of a kind that no flag can give`);
}

function defaultHint(type: Flag["type"], options: readonly string[]): string {
  if (type === "enum") return options.join("|");
  return { string: "TEXT", number: "N", boolean: "", list: "A,B,…" }[type];
}

/** Flags that every command has. */
export const COMMON = ["help", "config", "json"] as const;

/** What was typed. */
export interface Typed {
  readonly help: boolean;
  readonly json: boolean;
  readonly configFile: string | undefined;
  /** By key of the schema; numbers are numbers, lists are lists. */
  readonly values: ReadonlyMap<string, unknown>;
}

/**
 * Reads the arguments of a command.
 * @throws ConfigError for an unknown flag (with the nearest known one), a missing value, a malformed number, or an
 *   argument that is no flag
 */
export function readFlags(who: string, flags: readonly Flag[], argv: readonly string[]): Typed {
  const definitions = Object.fromEntries(
    flags.map(({ name, type }) => [
      name,
      { type: type === "boolean" ? ("boolean" as const) : ("string" as const) },
    ]),
  );
  const common = {
    help: { type: "boolean", alias: "h" },
    json: { type: "boolean" },
    config: { type: "string" },
  } as const;
  const parsed = parseArgs([...argv], { ...definitions, ...common }) as Record<string, unknown> & {
    _: string[];
  };
  refuseUnknown(who, flags, parsed, argv);
  const given = (name: string): unknown => present(who, name, parsed[name], argv);
  const typed = flags.flatMap((flag) => {
    const raw = given(flag.name);
    return raw === undefined ? [] : [[flag.key, convert(who, flag, raw)] as const];
  });
  const configFile = given("config") as string | undefined;
  const values = new Map<string, unknown>(typed);
  const [stray] = parsed._;
  const rest = flags.find((flag) => flag.positional);
  if (stray !== undefined && !rest)
    throw new ConfigError(`${who}: unexpected argument "${stray}"; expected flags only (\`${who} --help\`)`);
  if (stray !== undefined && rest) values.set(rest.key, parsed._);
  return { help: parsed["help"] === true, json: parsed["json"] === true, configFile, values };
}

function refuseUnknown(
  who: string,
  flags: readonly Flag[],
  parsed: Readonly<Record<string, unknown>> & { readonly _: readonly string[] },
  argv: readonly string[],
): void {
  const names = [...flags.map((f) => f.name), ...COMMON];
  const known = new Set(["_", "h", ...names, ...flags.map((f) => f.key)]);
  const unknown = Object.keys(parsed).find((name) => !known.has(name));
  if (unknown !== undefined) {
    const shown =
      argv.find((arg) => arg.startsWith("-") && arg.replace(/^--?(no-)?/, "").split("=")[0] === unknown) ??
      `--${unknown}`;
    const meant = nearest(kebab(unknown), names);
    const hint = meant ? `did you mean --${meant}?` : `\`${who} --help\` lists the flags`;
    throw new ConfigError(`${who}: unknown flag ${shown.split("=")[0]}; ${hint}`);
  }
}

/** The parser gives "" for a flag at the end, and takes the next flag for a value. */
function present(who: string, name: string, value: unknown, argv: readonly string[]): unknown {
  const swallowed = typeof value === "string" && /^--[a-z]/.test(value) && argv.includes(value);
  const nothing = value === "" && !argv.includes("") && !argv.includes(`--${name}=`);
  if (swallowed || nothing) throw new ConfigError(`${who}: --${name} needs a value`);
  return value;
}

function convert(who: string, { name, type, description }: Flag, raw: unknown): unknown {
  if (type === "list" && typeof raw === "string") return raw.split(",");
  if (type !== "number") return raw;
  const value = Number(raw);
  if (typeof raw === "string" && raw.trim() !== "" && !Number.isNaN(value)) return value;
  throw new ConfigError(`${who}: --${name}: expected a number, got "${String(raw)}" (${description})`);
}
