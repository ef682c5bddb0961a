/**
 * The one directive that WGSL needs from its loader: some built-ins (`subgroupBroadcast`) want constant
 * lanes, so a loop over lanes must be written out.
 *
 * ```wgsl
 * //: for k in 0..KC
 *   acc = fma(broadcast(a, $(k % 8)), b[$k], acc);
 * //: end
 * ```
 *
 * Bounds and `$(…)` are integer expressions over the kernel's constants and the loop variables. Loops nest.
 */
import { KernelError } from "../errors.ts";

type Names = ReadonlyMap<string, number>;

const FOR = /^\s*\/\/: for (\w+) in (.+?)\.\.(.+?)\s*$/;
const END = /^\s*\/\/: end\s*$/;

/**
 * Writes every `//: for` loop out.
 * @param source WGSL with directives
 * @param constants values that bounds and `$(…)` may name
 * @param limit at most this many trips a loop (reflection needs only one)
 * @throws KernelError on a loop without end, an unknown name or a malformed expression
 */
export function unroll(source: string, constants: Names, limit: number = Infinity): string {
  const lines = source.split("\n");
  const [out, next] = block(lines, 0, constants, limit, false);
  if (next !== lines.length) throw new KernelError(`unroll: line ${next + 1}: "//: end" without "//: for"`);
  return out.join("\n");
}

function block(
  lines: string[],
  start: number,
  names: Names,
  limit: number,
  inner: boolean,
): [string[], number] {
  const out: string[] = [];
  for (let i = start; i < lines.length; i++) {
    const line = lines[i]!;
    const loop = FOR.exec(line);
    if (loop) {
      const [, name, from, to] = loop as unknown as [string, string, string, string];
      const first = evaluate(from, names);
      const last = Math.min(evaluate(to, names), first + limit);
      let end = skip(lines, i + 1);
      for (let k = first; k < last; k++) {
        const [body, after] = block(lines, i + 1, new Map(names).set(name, k), limit, true);
        out.push(...body);
        end = after;
      }
      i = end - 1;
    } else if (END.test(line)) {
      if (!inner) return [out, i];
      return [out, i + 1];
    } else {
      out.push(line.includes("$") ? substitute(line, names) : line);
    }
  }
  if (inner) throw new KernelError(`unroll: line ${start}: "//: for" without "//: end"`);
  return [out, lines.length];
}

/** The index after the `//: end` that closes a loop whose body starts at `start`. */
function skip(lines: string[], start: number): number {
  let depth = 1;
  for (let i = start; i < lines.length; i++) {
    if (FOR.test(lines[i]!)) depth++;
    if (END.test(lines[i]!) && --depth === 0) return i + 1;
  }
  throw new KernelError(`unroll: line ${start}: "//: for" without "//: end"`);
}

function substitute(line: string, names: Names): string {
  const out = line
    .replace(/\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)/g, (_, expression: string) =>
      String(evaluate(expression, names)),
    )
    .replace(/\$(\w+)/g, (_, name: string) => String(lookup(name, names)));
  if (out.includes("$("))
    throw new KernelError(`unroll: "${line.trim()}": a "$(" is not closed, or nests too deep`);
  return out;
}

function lookup(name: string, names: Names): number {
  const value = names.get(name);
  if (value === undefined)
    throw new KernelError(`unroll: unknown name "${name}"; known: ${[...names.keys()].join(", ")}`);
  return value;
}

/** Integer arithmetic: + - * / % and parentheses; division truncates. */
export function evaluate(expression: string, names: Names): number {
  const tokens = expression.match(/\d+|\w+|[-+*/%()]/g) ?? [];
  let at = 0;
  const atom = (): number => {
    const token = tokens[at++];
    if (token === undefined) throw new KernelError(`unroll: "${expression}" ends too early`);
    if (token === "(") {
      const value = sum();
      if (tokens[at++] !== ")") throw new KernelError(`unroll: missing ")" in "${expression}"`);
      return value;
    }
    return /^\d+$/.test(token) ? Number(token) : lookup(token, names);
  };
  const product = (): number => {
    let value = atom();
    for (let op = tokens[at]; op === "*" || op === "/" || op === "%"; op = tokens[at]) {
      at++;
      const right = atom();
      value = op === "*" ? value * right : op === "/" ? Math.trunc(value / right) : value % right;
    }
    return value;
  };
  const sum = (): number => {
    let value = product();
    for (let op = tokens[at]; op === "+" || op === "-"; op = tokens[at]) {
      at++;
      value += op === "+" ? product() : -product();
    }
    return value;
  };
  const value = sum();
  if (at !== tokens.length) throw new KernelError(`unroll: cannot read "${expression}"`);
  return value;
}
