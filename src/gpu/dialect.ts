/** What a compiler wants spelled differently. Kernels are written once, in the present spelling. */

/** Subgroup matrices: layout as a type parameter (`modes`, since June 2026), or as a flag among the arguments. */
export type DialectName = "modes" | "flags";

const CALL =
  /\b(subgroupMatrixLoad|subgroupMatrixStore)<((?:[^<>()]|<[^<>]*>)*?),?\s*(row_major|col_major)>\(/g;

/**
 * Rewrites loads and stores of subgroup matrices for compilers before June 2026:
 * `subgroupMatrixLoad<T, row_major>(&p, at, stride)` becomes `subgroupMatrixLoad<T>(&p, at, false, stride)`.
 */
export function oldMatrixDialect(code: string): string {
  let out = "";
  let from = 0;
  for (const match of code.matchAll(CALL)) {
    const [whole, name, type, layout] = match as unknown as [string, string, string, string];
    const start = match.index + whole.length;
    const end = closing(code, start);
    const args = code.slice(start, end);
    const cut = args.lastIndexOf(","); // a stride is a plain expression, without a comma
    out += code.slice(from, match.index) + name + (type ? `<${type}>` : "");
    out += `(${args.slice(0, cut)}, ${layout === "col_major"}${args.slice(cut)}`;
    from = end;
  }
  return out + code.slice(from);
}

/** Where the parenthesis closes that is open at `at`. */
function closing(code: string, at: number): number {
  for (let depth = 1; at < code.length; at++) {
    if (code[at] === "(") depth++;
    if (code[at] === ")" && --depth === 0) return at;
  }
  return at;
}

/** Asks for subgroups of `lanes` lanes in every entry point that uses subgroups. */
export function askForLanes(code: string, lanes: number): string {
  if (!/^enable subgroups;$/m.test(code)) return code;
  return code
    .replace(/^enable subgroups;$/m, "enable subgroups;\nenable subgroup_size_control;")
    .replace(/^@compute\b/gm, `@subgroup_size(${lanes}) @compute`);
}
