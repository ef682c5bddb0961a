/**
 * The inner loop of BPE training. Pair counts are kept up to date merge by merge, and only in the words that hold the
 * merged pair; a heap gives the next pair. Its entries may be stale, but a count only falls after its entry was pushed (a
 * merge creates pairs with its new token alone), so an entry is an upper bound: pop, compare, push again.
 * No two merges spell the same token: as long as no merge crosses its ends, a span of bytes is segmented by its bytes alone.
 */

/** Learnt merges over ids; 0..255 are the bytes. */
export interface LearntMerges {
  /** The bytes of every token as a Latin-1 string: the single bytes first, then the merged ones, each once. */
  readonly tokens: readonly string[];
  /** Token 256 + i is made by merge i. */
  readonly merges: readonly (readonly [number, number])[];
}

interface Candidate {
  readonly count: number;
  readonly left: number;
  readonly right: number;
}

/** Words as id sequences, and where each pair stands. */
interface Corpus {
  readonly words: number[][];
  readonly frequencies: readonly number[];
  /** By pair key. */
  readonly counts: Map<number, number>;
  /** By pair key: words that hold the pair, or held it once; a word may be named twice. */
  readonly places: Map<number, number[]>;
}

/** Pairs as one number: room for 2^26 tokens on each side within 2^53. */
const base = 2 ** 26;

/**
 * Learns merges from words (Latin-1 strings of bytes) and their frequencies until there are `newTokens` tokens beside the
 * bytes, or until no pair occurs `minFrequency` times. Ties: the lexicographically greater pair, by the bytes of the left
 * token, then of the right, as in the reference code of Sennrich et al. (`max(stats, key=lambda x: (stats[x], x))`).
 */
export function learnMerges(
  words: ReadonlyMap<string, number>,
  newTokens: number,
  minFrequency: number,
): LearntMerges {
  const tokens = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
  const merges: [number, number][] = [];
  const corpus = indexCorpus(words);
  const heap = new PairHeap(tokens);
  for (const [key, count] of corpus.counts) heap.push(candidate(key, count));
  while (tokens.length < 256 + newTokens) {
    const best = popCurrent(heap, corpus.counts);
    if (best === undefined || best.count < Math.max(1, minFrequency)) break;
    const { left, right } = best;
    const made = tokens.push((tokens[left] as string) + (tokens[right] as string)) - 1;
    merges.push([left, right]);
    for (const key of applyMerge(corpus, left, right, made)) {
      heap.push(candidate(key, corpus.counts.get(key) as number));
    }
  }
  return { tokens, merges };
}

function indexCorpus(words: ReadonlyMap<string, number>): Corpus {
  const corpus: Corpus = {
    words: [],
    frequencies: [...words.values()],
    counts: new Map(),
    places: new Map(),
  };
  for (const word of words.keys()) {
    const ids = Array.from(word, (char) => char.charCodeAt(0));
    for (let i = 1; i < ids.length; i++) addPair(corpus, ids, i, corpus.words.length);
    corpus.words.push(ids);
  }
  return corpus;
}

/** Counts the pair that ends at `i` of word `index`. */
function addPair(corpus: Corpus, ids: readonly number[], i: number, index: number): number {
  const key = (ids[i - 1] as number) * base + (ids[i] as number);
  corpus.counts.set(key, (corpus.counts.get(key) ?? 0) + (corpus.frequencies[index] as number));
  const places = corpus.places.get(key);
  if (places === undefined) corpus.places.set(key, [index]);
  else if (places.at(-1) !== index) places.push(index);
  return key;
}

/** Merges (left, right) into `made` wherever it stands; answers the keys of the pairs that `made` is now in. */
function applyMerge(corpus: Corpus, left: number, right: number, made: number): Set<number> {
  const created = new Set<number>();
  const key = left * base + right;
  const places = corpus.places.get(key) ?? [];
  corpus.places.delete(key);
  for (const index of places) {
    const before = corpus.words[index] as number[];
    const after = mergeInWord(before, left, right, made);
    // Words are short: taking all pairs out and putting the new ones in beats tracking neighbours.
    if (after.length !== before.length) recount(corpus, index, before, after, made, created);
  }
  corpus.counts.delete(key);
  return created;
}

function mergeInWord(ids: readonly number[], left: number, right: number, made: number): number[] {
  const merged: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === left && ids[i + 1] === right) {
      merged.push(made);
      i += 1;
    } else {
      merged.push(ids[i] as number);
    }
  }
  return merged;
}

/** Takes the pairs of `before` out and puts those of `after` in. */
function recount(
  corpus: Corpus,
  index: number,
  before: readonly number[],
  after: number[],
  made: number,
  created: Set<number>,
): void {
  const { counts } = corpus;
  const frequency = corpus.frequencies[index] as number;
  for (let i = 1; i < before.length; i++) {
    const key = (before[i - 1] as number) * base + (before[i] as number);
    counts.set(key, (counts.get(key) as number) - frequency);
  }
  for (let i = 1; i < after.length; i++) {
    if (after[i - 1] === made || after[i] === made) {
      created.add(addPair(corpus, after, i, index));
    } else {
      const key = (after[i - 1] as number) * base + (after[i] as number);
      counts.set(key, (counts.get(key) as number) + frequency);
    }
  }
  corpus.words[index] = after;
}

/** The pair with the greatest count of now; `undefined` when every pair is gone. */
function popCurrent(heap: PairHeap, counts: ReadonlyMap<number, number>): Candidate | undefined {
  for (let top = heap.pop(); top !== undefined; top = heap.pop()) {
    const count = counts.get(top.left * base + top.right) ?? 0;
    if (count === top.count) return top;
    if (count > 0) heap.push({ ...top, count });
  }
  return undefined;
}

function candidate(key: number, count: number): Candidate {
  return { count, left: Math.floor(key / base), right: key % base };
}

/** A binary max-heap of pairs: by count, then by the bytes of left and right. */
class PairHeap {
  private readonly entries: Candidate[] = [];
  private readonly tokens: readonly string[];

  constructor(tokens: readonly string[]) {
    this.tokens = tokens;
  }

  push(entry: Candidate): void {
    const { entries } = this;
    let at = entries.length;
    entries.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(entry, entries[parent] as Candidate)) break;
      entries[at] = entries[parent] as Candidate;
      at = parent;
    }
    entries[at] = entry;
  }

  pop(): Candidate | undefined {
    const { entries } = this;
    const top = entries[0];
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return top;
    let at = 0;
    for (let child = 1; child < entries.length; child = 2 * at + 1) {
      const other = entries[child + 1];
      if (other !== undefined && this.before(other, entries[child] as Candidate)) child += 1;
      if (!this.before(entries[child] as Candidate, last)) break;
      entries[at] = entries[child] as Candidate;
      at = child;
    }
    entries[at] = last;
    return top;
  }

  private before(a: Candidate, b: Candidate): boolean {
    if (a.count !== b.count) return a.count > b.count;
    if (a.left !== b.left) return (this.tokens[a.left] as string) > (this.tokens[b.left] as string);
    return (this.tokens[a.right] as string) > (this.tokens[b.right] as string);
  }
}
