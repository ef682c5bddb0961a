/** Reading `config.json`: every field is checked, and an error names the file and the field. */
import { FormatError } from "../src/errors.ts";

type Json = Readonly<Record<string, unknown>>;

/** A `config.json` whose fields are read with the type they should have. */
export interface HfConfig {
  readonly json: Json;
  /** What to say in errors: the file's path. */
  readonly where: string;
  /** A whole number of at least 1. */
  count(key: string, otherwise?: number): number;
  /** A number above 0. */
  positive(key: string, otherwise?: number): number;
  flag(key: string, otherwise?: boolean): boolean;
  text(key: string, otherwise?: string): string;
  /** A token id, the first of several, or undefined where there is none. */
  tokenId(key: string): number | undefined;
  /** A field that is an object; undefined where it is absent or null. */
  object(key: string): HfConfig | undefined;
  /** Throws FormatError: this file cannot be used, with the reason. */
  refuse(reason: string): never;
}

/**
 * Wraps a parsed `config.json`. A field that is absent or null takes its default; without a default it is refused.
 * @throws FormatError from every reader when the field is not what it should be
 */
export function hfConfig(json: Json, where: string): HfConfig {
  const refuse = (reason: string): never => {
    throw new FormatError(`${where}: ${reason}`);
  };
  const read = <T>(key: string, wanted: string, good: (value: unknown) => boolean, otherwise?: T): T => {
    const value = json[key] ?? otherwise;
    if (value === undefined) return refuse(`${key} is missing; expected ${wanted}`);
    return good(value) ? (value as T) : refuse(`${key} is ${JSON.stringify(value)}; expected ${wanted}`);
  };
  return {
    json,
    where,
    refuse,
    count: (key, otherwise) => read(key, "a whole number of at least 1", isCount, otherwise),
    positive: (key, otherwise) => read(key, "a number above 0", isPositive, otherwise),
    flag: (key, otherwise) => read(key, "true or false", (v) => typeof v === "boolean", otherwise),
    text: (key, otherwise) => read(key, "a text", (v) => typeof v === "string", otherwise),
    tokenId: (key) => {
      const first = Array.isArray(json[key]) ? (json[key] as unknown[])[0] : json[key];
      if (first === undefined || first === null) return undefined;
      return isId(first)
        ? (first as number)
        : refuse(`${key} is ${JSON.stringify(json[key])}; expected a token id`);
    },
    object: (key) => {
      const value = json[key] ?? undefined;
      if (value === undefined) return undefined;
      if (typeof value !== "object" || Array.isArray(value)) return refuse(`${key} is not an object`);
      return hfConfig(value as Json, `${where}: ${key}`);
    },
  };
}

const isCount = (v: unknown): boolean => Number.isSafeInteger(v) && (v as number) >= 1;
const isPositive = (v: unknown): boolean => Number.isFinite(v) && (v as number) > 0;
const isId = (v: unknown): boolean => Number.isSafeInteger(v) && (v as number) >= 0;
