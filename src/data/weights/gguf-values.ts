/** Values of the metadata of GGUF files. Nothing here needs a file system: model families say what theirs are. */

/** A value of the metadata. Numbers say how they are stored. */
export type GgufValue =
  | string
  | boolean
  | { readonly type: "u32" | "f32"; readonly value: number }
  | { readonly type: "string"; readonly values: readonly string[] }
  | { readonly type: "i32" | "f32"; readonly values: readonly number[] };

/** By name, in the order in which they are written. */
export type GgufMetadata = Readonly<Record<string, GgufValue>>;

/** A whole number from 0. */
export const u32 = (value: number): GgufValue => ({ type: "u32", value });
/** A real number. */
export const f32 = (value: number): GgufValue => ({ type: "f32", value });
