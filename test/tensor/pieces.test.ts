/** A tensor read in pieces is the tensor. */
import { afterAll, expect, it } from "vitest";
import { persistent } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

it.each(["f32", "f16"] as const)(
  "%s: one that is larger than a piece, and not a whole number of them",
  async (dtype) => {
    const size = 2 ** 22 + 5;
    const x = persistent(device, [size], dtype);
    const values = Float32Array.from({ length: size }, (_, i) => (i % 2039) - 1019); // whole numbers that f16 holds
    x.write(values);
    const read: number[] = [];
    let first = 0;
    for await (const piece of x.pieces()) {
      expect(piece.every((value, i) => value === values[first + i])).toBe(true);
      first += piece.length;
      read.push(piece.length);
    }
    expect(read).toEqual([2 ** 22, 5]);
    device.destroyBuffer(x.storage.place!.buffer);
  },
);
