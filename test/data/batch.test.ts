import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  batchesByLength,
  bucketLength,
  gatherBlocks,
  maskToRange,
  packDocuments,
  padBatch,
  planEpochs,
} from "../../src/data/batch.ts";
import { ConfigError, ShapeError } from "../../src/errors.ts";

describe("padBatch", () => {
  const rows = [[5, 6, 7], [8], []];

  it("pads on the right", () => {
    const { B, T, ids, positions, range, mask } = padBatch(rows, { padId: 9, multiple: 4 });
    expect([B, T]).toEqual([3, 4]);
    expect([...ids]).toEqual([5, 6, 7, 9, 8, 9, 9, 9, 9, 9, 9, 9]);
    expect([...positions]).toEqual([0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect([...range]).toEqual([0, 3, 0, 1, 0, 0]);
    expect([...mask]).toEqual([1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("pads on the left, positions from the first real token", () => {
    const { ids, positions, range, mask } = padBatch(rows, { padId: 9, length: 4, side: "left" });
    expect([...ids]).toEqual([9, 5, 6, 7, 9, 9, 9, 8, 9, 9, 9, 9]);
    expect([...positions]).toEqual([0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect([...range]).toEqual([1, 4, 3, 4, 0, 0]);
    expect([...mask]).toEqual([0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
  });

  it("refuses rows that do not fit, and no rows", () => {
    expect(() => padBatch(rows, { padId: 0, length: 2 })).toThrow(ShapeError);
    expect(() => padBatch([], { padId: 0 })).toThrow(ShapeError);
  });

  it("gives ranges that are those of its mask, and rows back unchanged", () => {
    const row = fc.array(fc.nat(1000), { maxLength: 9 });
    const sides = fc.constantFrom("left" as const, "right" as const);
    fc.assert(
      fc.property(
        fc.array(row, { minLength: 1, maxLength: 5 }),
        sides,
        fc.integer({ min: 1, max: 5 }),
        (rows, side, multiple) => {
          const { B, T, ids, range, mask } = padBatch(rows, { padId: 1001, multiple, side });
          expect([...maskToRange(mask, B, T)]).toEqual([...range]);
          const back = rows.map((_, b) => [
            ...ids.subarray(b * T + range[b * 2]!, b * T + range[b * 2 + 1]!),
          ]);
          expect(back).toEqual(rows);
          expect(T % multiple).toBe(0);
        },
      ),
    );
  });
});

describe("maskToRange", () => {
  it.each([
    ["a hole", [1, 0, 1]],
    ["a value between", [0, 0.5, 1]],
    ["a two", [1, 2, 0]],
    ["a NaN", [NaN, 1, 1]],
  ])("refuses %s", (_, mask) => {
    expect(() => maskToRange(mask, 1, 3)).toThrow(/row 0: expected zeros around one run of ones/);
  });

  it("refuses another size", () => {
    expect(() => maskToRange([1, 1], 1, 3)).toThrow(ShapeError);
  });
});

describe("bucketLength", () => {
  it("rounds up to multiples of 16, at most the maximum", () => {
    expect([0, 1, 16, 17, 95, 100].map((n) => bucketLength(n, 100))).toEqual([16, 16, 16, 32, 96, 100]);
    expect(bucketLength(5, 100, 4)).toBe(8);
    expect(bucketLength(3, 8)).toBe(8);
    expect(() => bucketLength(101, 100)).toThrow(ShapeError);
  });
});

describe("packDocuments", () => {
  const packed = packDocuments([[1, 2, 3], [], [4, 5], [6]], { blockSize: 4, eosId: 0 });

  it("joins by the end token and predicts every token once", () => {
    expect([...packed.stream]).toEqual([1, 2, 3, 0, 0, 4, 5, 0, 6, 0]);
    expect(packed.blocks).toBe(2);
    const { B, T, ids, targets } = gatherBlocks(packed, [1, 0]);
    expect([B, T]).toEqual([2, 4]);
    expect([...ids]).toEqual([0, 4, 5, 0, 1, 2, 3, 0]);
    expect([...targets]).toEqual([4, 5, 0, 6, 2, 3, 0, 0]);
  });

  it("refuses too little text, and blocks that do not exist", () => {
    expect(() => packDocuments([[1, 2, 3]], { blockSize: 4, eosId: 0 })).toThrow(ConfigError);
    expect(() => packDocuments([], { blockSize: 4, eosId: 0 })).toThrow(ConfigError);
    expect(() => gatherBlocks(packed, [2])).toThrow(ShapeError);
  });
});

describe("planEpochs", () => {
  it("visits different items in every batch of an epoch, in another order each epoch", () => {
    const plan = planEpochs(10, { batchSize: 3, seed: 1 });
    expect(plan.batchesPerEpoch).toBe(3);
    const epochs = [0, 1, 2].map((epoch) => [0, 1, 2].flatMap((i) => plan.at(epoch * 3 + i)));
    for (const items of epochs) {
      expect(new Set(items).size).toBe(9);
      expect(items.every((item) => item >= 0 && item < 10)).toBe(true);
    }
    expect(new Set(epochs.map(String)).size).toBe(3);
  });

  it("gives the same batch at a position, wherever a run starts", () => {
    const options = { batchSize: 4, seed: 5 };
    const whole = planEpochs(21, options);
    const batches = Array.from({ length: 20 }, (_, position) => whole.at(position));
    for (const position of [19, 3, 7, 0, 12]) {
      expect(planEpochs(21, options).at(position)).toEqual(batches[position]);
      expect(whole.at(position)).toEqual(batches[position]);
    }
    expect(planEpochs(21, { batchSize: 4, seed: 6 }).at(0)).not.toEqual(batches[0]);
  });

  it("refuses too few items and what is no position", () => {
    expect(() => planEpochs(3, { batchSize: 4, seed: 0 })).toThrow(ConfigError);
    expect(() => planEpochs(3, { batchSize: 0, seed: 0 })).toThrow(ConfigError);
    expect(() => planEpochs(3, { batchSize: 1, seed: 0 }).at(-1)).toThrow(ConfigError);
  });
});

describe("batchesByLength", () => {
  it("puts rows of like length together, longest first, and asks how many fit beside the longest", () => {
    const asked: number[] = [];
    const batches = batchesByLength([3, 9, 3, 20, 8], (longest) => {
      asked.push(longest);
      return longest > 10 ? 1 : 3;
    });
    expect(batches).toEqual([[3], [1, 4, 0], [2]]);
    expect(asked).toEqual([20, 9, 3]);
    expect(batchesByLength([], () => 1)).toEqual([]);
  });
});
