/** Who draws what, and how prompts are shared out: without a GPU. */
import { describe, expect, it } from "vitest";
import { planPrefill } from "../../src/generate/prefill.ts";
import { createSchedule, stepsUntilLook } from "../../src/generate/schedule.ts";

describe("schedule", () => {
  it("gives every request one row, first come, first served", () => {
    const schedule = createSchedule(5, 2);
    expect(schedule.admit()).toEqual([0, 1]);
    expect([schedule.requestOf(0), schedule.requestOf(1), schedule.waiting]).toEqual([0, 1, 3]);
    expect(schedule.admit()).toEqual([]);
    schedule.release(1);
    expect(schedule.admit()).toEqual([1]);
    expect([schedule.requestOf(0), schedule.requestOf(1), schedule.waiting]).toEqual([0, 2, 2]);
    [0, 1].forEach((row) => schedule.release(row));
    expect(schedule.admit()).toEqual([0, 1]);
    expect([schedule.requestOf(0), schedule.requestOf(1)]).toEqual([3, 4]);
    [0, 1].forEach((row) => schedule.release(row));
    expect(schedule.admit()).toEqual([]);
    expect(schedule.active).toEqual([]);
  });

  it("keeps a few idle rows back while others draw, but not the last requests", () => {
    const schedule = createSchedule(40, 32);
    expect(schedule.admit().length).toBe(32);
    [3, 9, 20].forEach((row) => schedule.release(row));
    expect(schedule.admit(), "3 of 32 rows").toEqual([]);
    schedule.release(31);
    expect(schedule.admit(), "4 of 32 rows").toEqual([3, 9, 20, 31]);
    [0, 1, 2, 4, 5].forEach((row) => schedule.release(row));
    expect(schedule.admit(), "what is left of the requests").toEqual([0, 1, 2, 4]);
    expect([schedule.waiting, schedule.requestOf(5), schedule.requestOf(4)]).toEqual([0, undefined, 39]);
  });

  it("makes no step that no row needs", () => {
    expect(stepsUntilLook({ left: [3, 50], waiting: false, most: 8 })).toBe(8);
    expect(stepsUntilLook({ left: [3, 5], waiting: false, most: 8 })).toBe(5);
    expect(stepsUntilLook({ left: [3, 50], waiting: true, most: 8 }), "a row falls idle").toBe(3);
  });
});

describe("prefill", () => {
  const ids = (n: number, last = 0): number[] => [...Array.from({ length: n - 1 }, (_, i) => i + 1), last];

  it("computes a prompt once for all its rows, without its last token", () => {
    const some = [ids(5), ids(5, 9), ids(4), ids(5)].map((prompt, row) => ({ row, ids: prompt }));
    expect(planPrefill(some, 64)).toEqual([
      { T: 16, prompts: [ids(5).slice(0, 4), ids(4).slice(0, 3)], rows: [[0, 1, 3], [2]] },
    ]);
  });

  it("pads a prompt to a length that depends on it alone, and computes none of one token", () => {
    const some = [1, 17, 18, 2, 40].map((n, row) => ({ row, ids: ids(n) }));
    const plans = planPrefill(some, 40);
    expect(plans.map(({ T, rows }) => [T, rows.flat()])).toEqual([
      [16, [1, 3]],
      [32, [2]],
      [40, [4]],
    ]);
  });

  it("bounds the positions of one run", () => {
    const some = Array.from({ length: 9 }, (_, row) => ({ row, ids: [row, ...ids(1000)] }));
    const plans = planPrefill(some, 1024);
    expect(plans.map(({ prompts }) => prompts.length)).toEqual([4, 4, 1]);
    expect(plans.flatMap(({ rows }) => rows.flat())).toEqual(some.map(({ row }) => row));
  });
});
