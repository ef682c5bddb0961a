/** Text that a model wrote may hold anything: here it is made safe to show in HTML, in a terminal, in a chart. */

// C0 without tab and newline, DEL, C1, line and paragraph separators, bidirectional marks and overrides, zero-width
// characters that hide or reorder text, non-characters, lone surrogates. U+200D is kept: emoji are joined by it.
const INVISIBLE: RegExp =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u00AD\u061C\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB\uFFFE\uFFFF]|\p{Cs}/gu;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** The same text with control, bidirectional and unpaired characters spelled out, as in `[U+202E]`; CRLF becomes LF. */
export function visible(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(INVISIBLE, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

/** {@link visible} text, escaped for HTML and XML content and for attributes in either kind of quotes. */
export function escapeHtml(text: string): string {
  return visible(text).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

/** {@link visible} text on one line: every run of white space is one space. */
export function oneLine(text: string): string {
  return visible(text).replace(/\s+/g, " ").trim();
}

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

// Blocks that terminals draw two cells wide (East Asian Wide and Fullwidth, Unicode Annex 11) and emoji.
const WIDE: RegExp =
  /^[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97F\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6\u{1F300}-\u{1FAFF}\u{20000}-\u{3FFFD}]/u;

/** The user-perceived characters of `text`: what must not be cut in two. */
export function characters(text: string): string[] {
  return Array.from(graphemes.segment(text), ({ segment }) => segment);
}

/** Cells that `text` takes in a terminal: 2 for East Asian wide characters and emoji, 1 for other characters. */
export function displayWidth(text: string): number {
  return characters(text).reduce((sum, character) => sum + cells(character), 0);
}

function cells(character: string): number {
  if (/^\p{M}+$/u.test(character)) return 0;
  return WIDE.test(character) || character.includes("\uFE0F") ? 2 : 1;
}

/** `text`, or its beginning and an ellipsis where it is wider than `width` cells. */
export function truncate(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = "";
  let used = 0;
  for (const character of characters(text)) {
    used += cells(character);
    if (used > width - 1) break;
    kept += character;
  }
  return width < 1 ? "" : `${kept.trimEnd()}\u2026`;
}

/** `text` with spaces added to fill `width` cells; wider text comes back as it is. */
export function pad(text: string, width: number, align: "left" | "right" = "left"): string {
  const space = " ".repeat(Math.max(0, width - displayWidth(text)));
  return align === "left" ? text + space : space + text;
}

/** `text` broken into lines of at most `width` cells: at spaces where it can, within a word where it must. */
export function wrap(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => wrapParagraph(paragraph, Math.max(2, width)));
}

function wrapParagraph(paragraph: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of paragraph
    .split(/\s+/)
    .filter(Boolean)
    .flatMap((w) => pieces(w, width))) {
    if (line !== "" && displayWidth(line) + 1 + displayWidth(word) > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function pieces(word: string, width: number): string[] {
  if (displayWidth(word) <= width) return [word];
  const parts = [""];
  for (const character of characters(word)) {
    const last = parts.length - 1;
    const grown = (parts[last] ?? "") + character;
    if (displayWidth(grown) > width) parts.push(character);
    else parts[last] = grown;
  }
  return parts;
}
