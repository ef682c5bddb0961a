/** What somebody meant who mistyped a name. */

/** The candidate with the fewest edits to `word`, where those are few enough to be a slip; else undefined. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const scored = candidates.map((name) => ({ name, edits: editDistance(word, name) }));
  const [best] = scored.sort((a, b) => a.edits - b.edits);
  return best && best.edits <= Math.max(1, Math.floor(word.length / 3)) ? best.name : undefined;
}

/** Levenshtein's distance: insertions, deletions and substitutions from `a` to `b`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row.at(-1)!;
}
