/** Widths of text without a browser: vega's own guess, 0.8 em a character, leaves holes in axes and legends. */

// Advance widths of Helvetica (Arial's are the same) in thousandths of an em, U+0020 to U+007E: Adobe's Helvetica.afm.
const ADVANCES: readonly number[] = [
  278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
  556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
  500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
  556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
  278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/** Width of `text` in Helvetica at `fontSize` pixels; characters beyond ASCII count 0.6 em, wide ones 1 em. */
export function textWidth(text: string, fontSize: number): number {
  let sum = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    sum += ADVANCES[code - 32] ?? (code >= 0x2e80 ? 1000 : 600);
  }
  return (sum * fontSize) / 1000;
}
