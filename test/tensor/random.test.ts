import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import { hashIds, hashText, hexOf } from "../../src/tensor/hash.ts";
import { createRandom, philox4x32 } from "../../src/tensor/random.ts";

describe("philox4x32", () => {
  // The three vectors of "philox4x32 10" in Random123's kat_vectors.
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)("meets the published vector %#", (counter, key, expected) => {
    expect(philox4x32(counter, key)).toEqual([...expected]);
  });
});

describe("createRandom", () => {
  it("continues bit for bit from any position", () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(50), fc.nat(50), (seed, skip, count) => {
        const whole = createRandom(seed, "rollout");
        for (let i = 0; i < skip; i++) whole.uint32();
        const resumed = createRandom(seed, "rollout", whole.position);
        const moved = createRandom(seed, "rollout");
        moved.position = skip;
        for (let i = 0; i < count; i++) {
          const word = whole.uint32();
          expect(resumed.uint32()).toBe(word);
          expect(moved.uint32()).toBe(word);
        }
      }),
    );
  });

  it("keeps the whole state in position after every kind of draw", () => {
    const random = createRandom(7, 3);
    random.float();
    random.normal();
    random.integer(10);
    random.permutation(5);
    expect(createRandom(7, 3, random.position).normal()).toBe(random.normal());
  });

  it("gives other numbers for another seed, stream name or stream number", () => {
    const first = (seed: number, stream: number | string): number => createRandom(seed, stream).uint32();
    const draws = [
      first(1, "a"),
      first(2, "a"),
      first(1, "b"),
      first(1, 0),
      first(1, 1),
      first(1 + 2 ** 32, 0),
    ];
    expect(new Set(draws).size).toBe(draws.length);
  });

  it("draws uniform and normal numbers with the right moments", () => {
    const random = createRandom(1, "moments");
    const n = 20000;
    const uniforms = Array.from({ length: n }, () => random.float());
    const normals = Array.from({ length: n }, () => random.normal());
    const mean = (xs: number[]): number => xs.reduce((sum, x) => sum + x, 0) / xs.length;
    expect(Math.min(...uniforms)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...uniforms)).toBeLessThan(1);
    // Five standard errors.
    expect(Math.abs(mean(uniforms) - 0.5)).toBeLessThan(5 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(mean(normals))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(mean(normals.map((x) => x * x)) - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(mean(normals.map((x) => x ** 4)) - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
  });

  it("permutes: every order of three about equally often (chi-squared, 5 degrees of freedom, p > 1e-4)", () => {
    const random = createRandom(5, "permutation");
    const counts = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const order = random.permutation(3).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    const chi2 = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    expect(chi2).toBeLessThan(25.74);
  });

  it("shuffles in place and loses nothing", () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.nat(), (array, seed) => {
        const copy = [...array];
        expect(createRandom(seed, 0).shuffle(copy)).toBe(copy);
        expect([...copy].sort((a, b) => a - b)).toEqual([...array].sort((a, b) => a - b));
      }),
    );
  });

  it("refuses seeds, positions and bounds that are not whole numbers", () => {
    expect(() => createRandom(1.5, 0)).toThrow(ConfigError);
    expect(() => createRandom(1, 0, -1)).toThrow(ConfigError);
    expect(() => createRandom(1, 0).integer(0)).toThrow(/expected an integer from 1/);
  });
});

describe("hash", () => {
  it("meets the published FNV-1a 64 vectors", () => {
    expect(hexOf(hashText(""))).toBe("cbf29ce484222325");
    expect(hexOf(hashText("a"))).toBe("af63dc4c8601ec8c");
    expect(hexOf(hashText("foobar"))).toBe("85944171f73967e8");
  });

  it("tells id lists apart", () => {
    const lists = [[], [0], [0, 0], [256], [1, 0], [0, 1]];
    expect(new Set(lists.map((ids) => hexOf(hashIds(ids)))).size).toBe(lists.length);
  });
});
