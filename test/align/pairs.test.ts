/** Groups of cached responses: seeded, disjoint within a pass, other ones in the next; ties; endings. */
import { describe, expect, it } from "vitest";
import type { CacheEntry } from "../../src/align/cache/cache.ts";
import { groupsOf } from "../../src/align/pairs.ts";

const entry = (promptId: string, rewards: number[], finished?: boolean[]): CacheEntry => {
  return { promptId, prompt: promptId, promptIds: [1], rewards, finished };
};
const distinct = entry(
  "distinct",
  Array.from({ length: 11 }, (_, m) => (m * 7) % 11),
);
const options = { n: 3, seed: 0, missingEos: "none" } as const;

describe("groups of cached responses", () => {
  it("are floor(M / n) a prompt, with the largest score chosen and the smallest rejected", () => {
    const groups = groupsOf([distinct, entry("few", [5, 1, 3])], options);
    expect(groups.count).toBe(4);
    expect(groups.at(3, 0)).toMatchObject({ chosen: 0, rejected: 1, tied: false });
  });

  it("use no response twice in a pass, and are others in the next pass, for another seed or prompt", () => {
    const drawn = (pass: number, seed = 0, from = distinct): number[] => {
      const groups = groupsOf([from], { ...options, n: 1, seed });
      return Array.from({ length: groups.count }, (_, item) => groups.at(item, pass).chosen);
    };
    expect(drawn(0).toSorted((a, b) => a - b)).toEqual(distinct.rewards.map((_, m) => m));
    expect(drawn(0)).toEqual(drawn(0));
    for (const other of [drawn(1), drawn(0, 1), drawn(0, 0, { ...distinct, promptId: "other" })])
      expect(other).not.toEqual(drawn(0));
  });

  it("do not depend on the other prompts, nor on the order of the questions", () => {
    const alone = groupsOf([distinct], options).at(2, 5);
    const groups = groupsOf([entry("before", [1, 2, 3]), distinct], options);
    groups.at(1, 6);
    expect(groups.at(3, 5)).toEqual(alone);
  });

  it("know ties: all scores equal, never only some", () => {
    expect(groupsOf([entry("equal", [2, 2, 2])], options).at(0, 0).tied).toBe(true);
    expect(groupsOf([entry("some", [2, 2, 3])], options).at(0, 0)).toMatchObject({ chosen: 2, tied: false });
  });

  it("rank responses without an end as --missing-eos says", () => {
    const unfinished = entry("cut", [9, 1, 2], [false, true, true]);
    expect(groupsOf([unfinished], options).at(0, 0)).toMatchObject({ chosen: 0, rejected: 1 });
    expect(groupsOf([unfinished], { ...options, missingEos: "bottom" }).at(0, 0)).toMatchObject({
      chosen: 2,
      rejected: 0,
    });
    expect(groupsOf([unfinished], { ...options, missingEos: 1.5 }).at(0, 0)).toMatchObject({
      chosen: 2,
      rejected: 1,
    });
  });

  it("refuse an n that is no whole number, or more than a prompt has", () => {
    expect(() => groupsOf([distinct], { ...options, n: 2.5 })).toThrow(/n is 2\.5; expected a whole number/);
    expect(() => groupsOf([distinct], { ...options, n: 12 })).toThrow(
      /prompt "distinct" has 11 cached responses; expected at least n = 12/,
    );
  });
});
