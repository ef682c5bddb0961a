import { describe, expect, it } from "vitest";
import { schedule } from "../../src/optim/schedule.ts";
import { expectAllClose, golden } from "../support/golden.ts";

interface Golden {
  readonly schedules: readonly {
    readonly kind: "linear" | "cosine_half";
    readonly warmup: number;
    readonly total: number;
    readonly step: readonly number[];
    readonly factor: readonly number[];
  }[];
}

describe("schedule", () => {
  for (const { kind, warmup, total, step, factor } of golden<Golden>("optim.json").schedules) {
    it(`matches the reference: ${kind}, ${warmup} of ${total}`, () => {
      const of = schedule({ kind: kind === "linear" ? "linear" : "cosine", warmup, total });
      expectAllClose(step.map(of), factor, 1e-12);
    });
  }

  it("is flat after the warm-up when constant", () => {
    expect([0, 1, 2, 3, 9].map(schedule({ kind: "constant", warmup: 2, total: 4 }))).toEqual([
      0, 0.5, 1, 1, 1,
    ]);
  });

  it("stops at `end`", () => {
    expect(schedule({ kind: "cosine", total: 10, end: 0.1 })(50)).toBeCloseTo(0.1, 12);
    expect(schedule({ kind: "linear", total: 10, end: 0.1 })(10)).toBeCloseTo(0.1, 12);
  });

  it("refuses a warm-up longer than the run", () => {
    expect(() => schedule({ kind: "linear", warmup: 5, total: 4 })).toThrow("warmup 5, total 4");
  });
});
