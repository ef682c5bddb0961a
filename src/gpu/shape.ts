/** What a recorded call works on, in a few words for tables. */
import { bytesOf, type Call } from "./call.ts";

/** Parameters that are sizes: single capitals (B, T, M, N, K …) and these words. */
const SIZES = /^(?:[A-Z]|rows|columns|n4|blocks|count|slots|classes)$/;

/** "M=512 N=512 K=64": what the op said, else the sizes among its parameters, else the elements it writes. */
export function shapeOf({ shape, spec, params, views }: Call): string {
  if (shape !== undefined) return shape;
  const view = params && new DataView(params);
  const sizes = [...(spec.params?.fields ?? [])].flatMap(([name, { offset, type }]) => {
    if (!view || !SIZES.test(name) || (name === "rows" && spec.params!.fields.has("M"))) return [];
    const value = type === "f32" ? view.getFloat32(offset, true) : view.getUint32(offset, true);
    return [name === "n4" ? `n=${4 * value}` : `${name}=${value}`];
  });
  if (sizes.length > 0) return sizes.join(" ");
  const written = views.find(({ writable }) => writable);
  return written ? `n=${written.view.elements ?? bytesOf(written.view) / 4}` : "";
}

/** Bytes of everything that a call binds, each place once: what it reads and writes at least, where it uses all of it. */
export function boundBytes({ views }: Call): number {
  const places = new Map(
    views.map(({ view }) => [`${view.storage.id} ${view.offset ?? 0}`, bytesOf(view)] as const),
  );
  return [...places.values()].reduce((sum, bytes) => sum + bytes, 0);
}
