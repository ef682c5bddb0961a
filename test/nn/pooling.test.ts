/** Which token a classifier reads, and what stays of a text that is cut or loses tokens. */
import { describe, expect, it } from "vitest";
import { cutStart, readIndex } from "../../src/nn/pooling.ts";
import { dropTokens } from "../../src/train/reward.ts";

describe("the token that is read", () => {
  it("is the first of a row, or its last real one", () => {
    expect([readIndex("first", 2, 16, 5), readIndex("last", 2, 16, 5)]).toEqual([32, 36]);
  });

  it("stays when a text loses its beginning", () => {
    const ids = [2, 10, 11, 12, 13, 3];
    expect(cutStart("last", ids, 3)).toEqual([12, 13, 3]);
    expect(cutStart("first", ids, 3)).toEqual([2, 13, 3]);
    expect(cutStart("first", ids, 1)).toEqual([2]);
    for (const reads of ["first", "last"] as const) expect(cutStart(reads, ids, 6)).toEqual(ids);
  });

  it("is never dropped while learning, where it is the first", () => {
    const ids = Array.from({ length: 8 }, (_, i) => 100 + i);
    const settings = { tokenDropout: 0.9, seed: 1 } as Parameters<typeof dropTokens>[3];
    const firsts = Array.from({ length: 50 }, (_, i) => dropTokens(ids, i, 0, settings, "first"));
    expect(firsts.every(([first]) => first === 100)).toBe(true);
    // The other tokens fall as they do where the last is read.
    const lasts = Array.from({ length: 50 }, (_, i) => dropTokens(ids, i, 0, settings, "last"));
    expect(lasts.some(([first]) => first !== 100)).toBe(true);
    expect(lasts.every((kept, i) => kept.every((id) => firsts[i]!.includes(id) || kept.length === 1))).toBe(
      true,
    );
  });
});
