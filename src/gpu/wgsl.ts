/** Cuts a WGSL file down to what one entry point needs. Functions start and end in the first column. */

const FUNCTION = /^(@compute[^{]*?)?fn (\w+)[^{]*\{(?:[^\n]*\}$|[\s\S]*?^\}$)/gm;

/** One entry point and the functions it calls. */
export interface Cut {
  /** Declarations and the functions that are reached. */
  readonly code: string;
  /** The reached functions alone. */
  readonly bodies: string;
  /** Declarations alone. */
  readonly declarations: string;
  /** All entry points of the file. */
  readonly entries: readonly string[];
}

/**
 * Leaves out other entry points and the helpers only they call: less to compile, and a kernel that uses no
 * subgroups does not enable them.
 */
export function cut(source: string, entry: string): Cut {
  const functions = new Map<string, string>();
  const entries: string[] = [];
  for (const match of source.matchAll(FUNCTION)) {
    const [whole, attribute, name] = match as unknown as [string, string | undefined, string];
    functions.set(name, whole);
    if (attribute) entries.push(name);
  }
  const reached = reach(functions, entry);
  const keep = (kept: ReadonlySet<string>): string =>
    source.replace(FUNCTION, (whole, _, name: string) => (kept.has(name) ? whole : ""));
  const bodies = [...reached].map((name) => functions.get(name)!).join("\n");
  const enabled = (code: string): string =>
    usesSubgroups(bodies) ? code : code.replace(/^enable subgroups;$/m, "");
  return { code: enabled(keep(reached)), bodies, declarations: enabled(keep(new Set())), entries };
}

function reach(functions: ReadonlyMap<string, string>, entry: string): Set<string> {
  const reached = new Set<string>();
  const queue = [entry];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    const body = functions.get(name);
    if (body === undefined || reached.has(name)) continue;
    reached.add(name);
    queue.push(...[...functions.keys()].filter((other) => mentions(body, other)));
  }
  return reached;
}

const usesSubgroups = (bodies: string): boolean => /\bsubgroup(?:[A-Z]|_)/.test(withoutComments(bodies));

/** Whether a name stands in the code, comments and members (`id.x`) left out. A binding's name is never shadowed. */
export function mentions(code: string, name: string): boolean {
  return new RegExp(`(?<![.\\w])${name}\\b`).test(withoutComments(code));
}

const withoutComments = (code: string): string => code.replace(/\/\/.*$/gm, "");
