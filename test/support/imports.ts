/** What source files import, read from their text. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A source text without its comments. */
export const codeOf = (source: string): string => source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");

/** What a module's loading brings in at once, as it is spelled: neither types nor what is imported at run time. */
export function staticImports(source: string): string[] {
  const found = codeOf(source).matchAll(
    /^(?:import|export)\s+(?:([^;"']*?)\s*from\s*)?["']([^"']+)["'];?$/gms,
  );
  return [...found].filter(([, clause]) => !clause?.startsWith("type ")).map(([, , target]) => target!);
}

/** The files that loading `entry` (from the root) brings in, and what else they import: packages and `node:` modules. */
export function loadedBy(entry: string): { files: ReadonlySet<string>; outside: ReadonlySet<string> } {
  const [files, outside] = [new Set<string>(), new Set<string>()];
  const queue = [entry];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (files.has(file)) continue;
    files.add(file);
    for (const target of staticImports(readFileSync(join(ROOT, file), "utf8"))) {
      if (target.startsWith(".")) queue.push(join(dirname(file), target));
      else outside.add(target);
    }
  }
  return { files, outside };
}
