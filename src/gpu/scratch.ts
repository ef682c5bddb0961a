/** Buffers that programs share: only one program runs at a time, and none finds there what it left. */

/** The scratch buffers of a device. One goes when the last program that uses it is disposed. */
export class Scratch {
  readonly #users = new Map<GPUBuffer, number>();
  readonly #create: (bytes: number) => GPUBuffer;
  readonly #destroy: (buffer: GPUBuffer) => void;

  constructor(create: (bytes: number) => GPUBuffer, destroy: (buffer: GPUBuffer) => void) {
    this.#create = create;
    this.#destroy = destroy;
  }

  [Symbol.iterator](): IterableIterator<GPUBuffer> {
    return this.#users.keys();
  }

  /** Bytes that {@link Scratch.take} of these sizes would allocate. */
  missing(sizes: readonly number[]): number {
    return this.#match(sizes).reduce((sum, buffer, i) => sum + (buffer ? 0 : sizes[i]!), 0);
  }

  /** A buffer for each of `sizes` (falling), each at least as large, no two the same. */
  take(sizes: readonly number[]): GPUBuffer[] {
    return this.#match(sizes).map((found, i) => {
      const buffer = found ?? this.#create(sizes[i]!);
      this.#users.set(buffer, (this.#users.get(buffer) ?? 0) + 1);
      return buffer;
    });
  }

  /** Undoes one {@link Scratch.take}. */
  release(buffers: readonly GPUBuffer[]): void {
    for (const buffer of buffers) {
      const users = (this.#users.get(buffer) ?? 0) - 1;
      if (users > 0) this.#users.set(buffer, users);
      else if (this.#users.delete(buffer)) this.#destroy(buffer);
    }
  }

  /** Largest size first, each in the smallest unused buffer that holds it; undefined where there is none. */
  #match(sizes: readonly number[]): (GPUBuffer | undefined)[] {
    const unused = [...this.#users.keys()].sort((a, b) => a.size - b.size);
    return sizes.map((bytes) => {
      const fit = unused.findIndex((buffer) => buffer.size >= bytes);
      return fit < 0 ? undefined : unused.splice(fit, 1)[0];
    });
  }
}
