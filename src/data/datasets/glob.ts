/** Patterns of file names, as shells and fsspec write them. */
import { ConfigError } from "../../errors.ts";
import { endingOf } from "./unpack.ts";

/** Whether `text` is a pattern and not a plain name. */
export const isGlob = (text: string): boolean => /[*?[{]/.test(text);

/** What stands for itself, and what does not. */
const PIECES = /\*\*\/|\*\*|\*|\?|\[[^\]/]+\]|\{[^{}]*\}|[^]/gu;

/**
 * The names that a pattern fits: `*` and `?` within a folder, `**` across folders, `[abc]`, `[!abc]`, `{one,other}`.
 * @throws ConfigError for one that fits nothing, such as `[z-a]`
 */
export function globPattern(glob: string): RegExp {
  try {
    return new RegExp(`^${translated(glob)}$`, "su");
  } catch {
    throw new ConfigError(`${glob}: is no pattern; expected *, **, ?, [abc] or {one,other} in it`);
  }
}

function translated(glob: string): string {
  return (glob.match(PIECES) ?? []).map(pieceOf).join("");
}

function pieceOf(piece: string): string {
  if (piece === "**/") return "(?:.*/)?";
  if (piece === "**") return ".*";
  if (piece === "*") return "[^/]*";
  if (piece === "?") return "[^/]";
  if (piece.length > 1 && piece.startsWith("["))
    return `[${piece
      .slice(1, -1)
      .replace(/^!/, "^")
      .replaceAll(/[\\[]/g, String.raw`\$&`)}]`;
  if (piece.length > 1 && piece.startsWith("{"))
    return `(?:${piece.slice(1, -1).split(",").map(translated).join("|")})`;
  return piece.replace(/[\\^$.*+?()[\]{}|/]/, String.raw`\$&`);
}

/**
 * One pattern for several names: digits that differ become `*`, else the names stand in braces. It ends as they do, where they end
 * alike, and may fit others too.
 */
export function patternOf(names: readonly string[]): string {
  const [first = "", ...others] = names.map((name) => name.split(/([0-9a-f]{16}|\d+)/));
  if (others.length === 0) return names[0] ?? "";
  const alike = others.every(
    (parts) => parts.length === first.length && parts.every((part, i) => i % 2 === 1 || part === first[i]),
  );
  if (alike)
    return [...first].map((part, i) => (others.every((parts) => parts[i] === part) ? part : "*")).join("");
  const start = names[0]!.slice(0, names[0]!.lastIndexOf("/") + 1);
  const end = endingOf(names[0]!);
  const shared = names.every((name) => name.startsWith(start) && name.endsWith(end));
  const [from, to] = shared ? [start, end] : ["", ""];
  return `${from}{${names.map((name) => name.slice(from.length, name.length - to.length)).join(",")}}${to}`;
}
