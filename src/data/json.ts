/**
 * JSON with errors that say where. Engines word a SyntaxError differently and often leave the position out, so after a
 * failure the text is scanned once more for the first token that does not fit.
 */
import { FormatError } from "../errors.ts";

/**
 * Parses `text`; `where` names its origin (a path, or `path:line`).
 * Throws FormatError with line (of a text of several), column and what stood there.
 */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const { position, problem } = findJsonError(text);
    const before = text.slice(0, position).split("\n");
    const line = text.includes("\n") ? `line ${before.length}, ` : "";
    const column = (before.at(-1) ?? "").length + 1;
    throw new FormatError(`${where}: malformed JSON at ${line}column ${column}: ${problem}`);
  }
}

/** A plain object (not null, not an array), as parsed from JSON. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * JSON on several lines. Fields named in `floats` keep a decimal point where they are whole: transformers refuses 2 where it wants 2.0.
 */
export function jsonText(value: unknown, floats: readonly string[]): string {
  const whole = new RegExp(`("(?:${floats.join("|")})": -?\\d+)(?=,?\\n)`, "g");
  return `${JSON.stringify(value, null, 2).replace(whole, "$1.0")}\n`;
}

type State = "value" | "value or ]" | "key or }" | "key" | "colon" | ", or ]" | ", or }" | "end";

/** The first place where `text` stops being JSON (RFC 8259). `position` counts UTF-16 units from 0. */
export function findJsonError(text: string): { position: number; problem: string } {
  const open: ("[" | "{")[] = [];
  let state: State = "value";
  let at = skipSpace(text, 0);
  for (; at < text.length; at = skipSpace(text, at)) {
    const token = tokenAt(text, at);
    const next: State | undefined = token === undefined ? undefined : step(state, token, open);
    if (token === undefined || next === undefined) {
      return { position: at, problem: `expected ${wanted(state)}, got ${shown(text, at)}` };
    }
    state = next;
    at += token.length;
  }
  return { position: at, problem: `expected ${wanted(state)}, the text ends` };
}

function step(state: State, token: string, open: ("[" | "{")[]): State | undefined {
  const after = (): State => (open.length === 0 ? "end" : open.at(-1) === "[" ? ", or ]" : ", or }");
  if ((token === "]" && state.endsWith("]")) || (token === "}" && state.endsWith("}"))) {
    open.pop();
    return after();
  }
  if (state === "value" || state === "value or ]") {
    if (token === "[" || token === "{") {
      open.push(token);
      return token === "[" ? "value or ]" : "key or }";
    }
    return /^[\]},:]/.test(token) ? undefined : after();
  }
  if (state === "key" || state === "key or }") return token.startsWith('"') ? "colon" : undefined;
  if (state === "colon") return token === ":" ? "value" : undefined;
  if (token !== ",") return undefined;
  return state === ", or ]" ? "value" : state === ", or }" ? "key" : undefined;
}

function tokenAt(text: string, at: number): string | undefined {
  if (text[at] === '"') return stringAt(text, at);
  const plain = /[[\]{},:]|true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
  plain.lastIndex = at;
  return plain.exec(text)?.[0];
}

/** A loop, not a regular expression: those overflow the stack on strings of some megabytes. */
function stringAt(text: string, at: number): string | undefined {
  for (let end = at + 1; end < text.length; end++) {
    const char = text.charCodeAt(end);
    if (char === 0x22) return text.slice(at, end + 1);
    if (char < 0x20) return undefined;
    if (char !== 0x5c) continue;
    if (!/^(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.test(text.slice(end + 1, end + 6))) return undefined;
    end += 1;
  }
  return undefined;
}

function skipSpace(text: string, at: number): number {
  let end = at;
  while (end < text.length && " \t\n\r".includes(text.charAt(end))) end += 1;
  return end;
}

function wanted(state: State): string {
  if (state === "end") return "nothing more";
  return state === "colon" ? "a colon" : state.startsWith(",") ? `a comma or ${state.at(-1)}` : `a ${state}`;
}

function shown(text: string, at: number): string {
  const piece = text.slice(at, at + 20).split("\n")[0] ?? "";
  return text[at] === '"' ? `an unfinished or malformed string ${piece}` : piece;
}
