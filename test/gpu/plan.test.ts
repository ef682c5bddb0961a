/** Which storages share a buffer: never two that live at once, in little more memory than live at once. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { assignSlots, type Life, type Slot } from "../../src/gpu/plan.ts";
import { virtualStorage } from "../../src/gpu/storage.ts";

const life = (bytes: number, first: number, last: number): Life => ({
  storage: virtualStorage(bytes, `${bytes} bytes, ${first} to ${last}`),
  first,
  last,
});
const total = (slots: readonly Slot[]): number => slots.reduce((sum, { bytes }) => sum + bytes, 0);

/** The most bytes that live at one call: no plan can do with less. */
const peak = (lives: readonly Life[]): number =>
  Math.max(
    ...lives.map(({ first }) =>
      lives
        .filter((other) => other.first <= first && first <= other.last)
        .reduce((sum, { storage }) => sum + storage.bytes, 0),
    ),
  );

const anyLives = fc.array(
  fc
    .tuple(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 20 }))
    .map(([units, first, length]) => life(16 * units, first, first + length)),
  { minLength: 1, maxLength: 60 },
);

describe("assignSlots", () => {
  it("lets no two tenants of a slot live at once, and gives every storage room", () => {
    fc.assert(
      fc.property(anyLives, (lives) => {
        const slots = assignSlots(lives);
        const of = new Map(lives.map((l) => [l.storage, l]));
        expect(slots.flatMap(({ tenants }) => tenants)).toHaveLength(lives.length);
        for (const { bytes, tenants } of slots)
          for (const [i, a] of tenants.entries()) {
            expect(a.bytes).toBeLessThanOrEqual(bytes);
            for (const b of tenants.slice(i + 1)) {
              const [x, y] = [of.get(a)!, of.get(b)!];
              expect(x.last < y.first || y.last < x.first).toBe(true);
            }
          }
        expect(total(slots)).toBeGreaterThanOrEqual(peak(lives));
      }),
    );
  });

  it("does not let a small storage that comes first spread a slot for a large one", () => {
    // In order of birth the small one's slot grows for the first large one, and the second finds only small ones.
    const lives = [life(16, 0, 1), life(32, 0, 2), life(1024, 2, 4), life(16, 3, 6), life(1024, 5, 8)];
    expect(total(assignSlots(lives))).toBe(1024 + 32);
  });

  it("is the same every time", () => {
    const lives = Array.from({ length: 200 }, (_, i) => life(16 * ((i * 37) % 23), i, i + ((i * 11) % 17)));
    expect(assignSlots(lives)).toEqual(assignSlots(lives));
  });
});
