/**
 * The house plan as a test: which folder stands on which floor, that imports only point down, that no file
 * imports itself by a detour, that every shader has its TypeScript and the other way round, that files stay small.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { codeOf, loadedBy, staticImports } from "./support/imports.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** A floor of the house. Files of one area may import each other, without cycles. */
interface Area {
  readonly floor: number;
  readonly path: string;
  /** May import other areas of its own floor too. */
  readonly mates?: true;
  /** The only areas that may import it, where it is not open to every floor above. */
  readonly onlyFor?: readonly string[];
}

const HOUSE: readonly Area[] = [
  { floor: 0, path: "src/errors.ts" },
  { floor: 0, path: "src/host.ts", mates: true }, // it throws our errors
  { floor: 1, path: "src/gpu" },
  { floor: 2, path: "src/tensor" },
  { floor: 3, path: "src/ops" },
  { floor: 4, path: "src/nn", mates: true },
  { floor: 4, path: "src/optim" },
  { floor: 4, path: "src/data" },
  { floor: 5, path: "models", onlyFor: ["src/bench", "src/cli", "src/browser.ts", "src/index.ts"] },
  { floor: 6, path: "src/generate" },
  { floor: 6, path: "src/train" },
  { floor: 7, path: "src/align", mates: true },
  { floor: 7, path: "src/evaluate" },
  { floor: 8, path: "src/report" },
  { floor: 8, path: "src/bench" },
  { floor: 9, path: "src/cli" },
  { floor: 9, path: "src/browser.ts" },
  { floor: 9, path: "src/index.ts", mates: true }, // what a browser has, and more
];

/** Folders whose files may own a shader: shaders/<stem>.wgsl belongs to <folder>/<stem>.ts. */
const SHADER_OWNERS = ["src/gpu", "src/tensor", "src/ops", "src/optim", "src/generate", "src/bench"];

/** The packages that a page needs beside ours (docs/runtimes.md lists them). */
const BROWSER_PACKAGES = [
  "@huggingface/jinja",
  "@huggingface/tokenizers",
  "wgsl_reflect/wgsl_reflect.module.js",
];

const MAX_LINES = 400;

/** The files that each file imports, by their paths from the root. */
type Imports = ReadonlyMap<string, readonly string[]>;

function filesUnder(folder: string, ending: RegExp): string[] {
  if (!existsSync(join(ROOT, folder))) return [];
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => ending.test(name) && !name.includes("node_modules")) // bench/peers installs some
    .map((name) => join(folder, name))
    .toSorted();
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), "utf8");
}

/** Relative imports and re-exports of a source text, type-only and dynamic ones included. */
function importsIn(file: string, source: string): string[] {
  const found = codeOf(source).matchAll(/\b(?:from|import)\s*\(?\s*["'](\.[^"']+)["']/g);
  return [...found].map((match) => join(dirname(file), match[1] ?? ""));
}

function areaOf(file: string): Area | undefined {
  return HOUSE.find(({ path }) => file === path || file.startsWith(`${path}/`));
}

/** What the floor table forbids, one line each. */
function floorViolations(imports: Imports): string[] {
  return [...imports].flatMap(([file, targets]) =>
    targets.flatMap((target) => {
      const wrong = forbidden(areaOf(file), areaOf(target));
      return wrong ? [`${file} imports ${target}: ${wrong}`] : [];
    }),
  );
}

function forbidden(from: Area | undefined, to: Area | undefined): string | undefined {
  if (!from || !to) return "not on any floor of the house";
  if (from === to) return undefined;
  if (to.floor > from.floor) return `upwards, from floor ${from.floor} to ${to.floor}`;
  if (to.floor === from.floor && !from.mates) return `another area of the same floor ${to.floor}`;
  if (to.onlyFor && !to.onlyFor.includes(from.path)) return `only ${to.onlyFor.join(" and ")} may`;
  return undefined;
}

/** Each cycle once, as "a -> b -> a". */
function cycles(imports: Imports): string[] {
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file);
    if (start >= 0) found.push([...path.slice(start), file].join(" -> "));
    if (start >= 0 || done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of imports.keys()) visit(file, []);
  return found;
}

/** Kernels and shaders that do not find each other. `loads`: the kernels that each source file loads. */
function shaderViolations(
  shaders: readonly string[],
  loads: ReadonlyMap<string, readonly string[]>,
): string[] {
  const owners = (stem: string): string[] => SHADER_OWNERS.map((folder) => `${folder}/${stem}.ts`);
  const orphans = shaders.filter((stem) => !owners(stem).some((file) => loads.get(file)?.includes(stem)));
  const strays = [...loads].flatMap(([file, stems]) =>
    stems.flatMap((stem) => {
      if (!shaders.includes(stem)) return [`${file} loads shaders/${stem}.wgsl, which does not exist`];
      return owners(stem).includes(file)
        ? []
        : [`${file} loads shaders/${stem}.wgsl, which is not of its name`];
    }),
  );
  return [...orphans.map((stem) => `shaders/${stem}.wgsl: no ${stem}.ts loads it`), ...strays];
}

const sources = [...filesUnder("src", /\.ts$/), ...filesUnder("models", /\.ts$/)].filter(
  (f) => !f.endsWith(".d.ts"),
);
const texts = new Map(sources.map((file) => [file, read(file)]));
const imports: Imports = new Map([...texts].map(([file, text]) => [file, importsIn(file, text)]));

describe("the house", () => {
  it("has every source file on a floor", () => {
    expect(sources.length).toBeGreaterThan(0);
    expect(sources.filter((file) => !areaOf(file))).toEqual([]);
  });

  it("imports only downwards", () => expect(floorViolations(imports)).toEqual([]));

  it("has no import cycles", () => expect(cycles(imports)).toEqual([]));

  it("pairs shaders with the file of the same name", () => {
    const shaders = filesUnder("shaders", /\.wgsl$/).map((file) =>
      relative("shaders", file).replace(".wgsl", ""),
    );
    const loads = [...texts].map(([file, text]): [string, string[]] => {
      return [file, [...text.matchAll(/\bload(?:Row)?Kernel\("([^"]+)"\)/g)].map((match) => match[1] ?? "")];
    });
    expect(shaderViolations(shaders, new Map(loads))).toEqual([]);
  });

  it("lists every op in src/ops/index.ts", () => {
    const listed = imports.get("src/ops/index.ts") ?? [];
    const defining = sources.filter(
      (f) => dirname(f) === "src/ops" && /\bdefineOp\b/.test(texts.get(f) ?? ""),
    );
    expect(defining.filter((file) => !listed.includes(file))).toEqual([]);
  });

  it("asks which runtime it runs on in src/host.ts only", () => {
    const asks =
      /typeof (?:process|Deno|Bun|window|navigator)\b|\bnavigator\.gpu\b|(?:from|import\() *"webgpu"/;
    expect(sources.filter((file) => file !== "src/host.ts" && asks.test(texts.get(file) ?? ""))).toEqual([]);
  });

  it("runs in a browser: loading src/browser.ts brings in no module of Node's, and few packages", () => {
    const { files, outside } = loadedBy("src/browser.ts");
    expect(files.size).toBeGreaterThan(150);
    expect([...outside].toSorted()).toEqual(BROWSER_PACKAGES);
    expect([...loadedBy("src/index.ts").outside].some((name) => name.startsWith("node:"))).toBe(true);
  });

  it(`keeps files under ${MAX_LINES} lines`, () => {
    const all = ["src", "models", "shaders", "test", "bench", "scripts", "examples", "bin"];
    const files = all.flatMap((folder) => filesUnder(folder, /\.(?:ts|mjs|wgsl)$/));
    const sizes = files.map((file) => ({ file, lines: read(file).split("\n").length - 1 }));
    expect(sizes.filter(({ lines }) => lines > MAX_LINES)).toEqual([]);
  });
});

describe("the guard itself", () => {
  const violations = (file: string, target: string): number =>
    floorViolations(new Map([[file, [target]]])).length;

  it("sees every kind of relative import, and no comment", () => {
    const source = `import type { A } from "../a.ts";\nexport * from './b.ts';\nawait import("../ops/c.ts");\n// from "./d.ts"`;
    expect(importsIn("src/nn/x.ts", source)).toEqual(["src/a.ts", "src/nn/b.ts", "src/ops/c.ts"]);
  });

  it("tells what is loaded at once from types and from what is loaded later", () => {
    const source = `import type { A } from "a";\nimport { type B, c } from "b";\nexport {\n  d,\n} from "./d.ts";\nimport "e";\nexport * as f from "f";\nexport type { G } from "g";\nawait import("h");`;
    expect(staticImports(source)).toEqual(["b", "./d.ts", "e", "f"]);
  });

  it.each([
    ["src/ops/gelu.ts", "src/nn/linear.ts", 1],
    ["src/nn/linear.ts", "src/ops/gelu.ts", 0],
    ["src/nn/lm.ts", "src/data/batch.ts", 0],
    ["src/data/batch.ts", "src/optim/adamw.ts", 1],
    ["src/align/loop.ts", "models/gpt2.ts", 1],
    ["src/cli/main.ts", "models/index.ts", 0],
    ["src/evaluate/kl.ts", "src/evaluate/ks.ts", 0],
    ["src/evaluate/kl.ts", "src/align/kl.ts", 1],
    ["src/align/objectives/ppo.ts", "src/align/kl.ts", 0],
    ["src/attic/x.ts", "src/errors.ts", 1],
  ])("%s -> %s: %i", (file, target, count) => expect(violations(file, target)).toBe(count));

  it("finds a cycle once", () => {
    const graph = new Map([
      ["a", ["b"]],
      ["b", ["c"]],
      ["c", ["b"]],
    ]);
    expect(cycles(graph)).toEqual(["b -> c -> b"]);
  });

  it("finds shaders without code, and code without shaders", () => {
    const loads = new Map([
      ["src/ops/gelu.ts", ["gelu", "gone"]],
      ["src/nn/x.ts", ["gelu"]],
    ]);
    expect(shaderViolations(["gelu", "lost"], loads)).toEqual([
      "shaders/lost.wgsl: no lost.ts loads it",
      "src/ops/gelu.ts loads shaders/gone.wgsl, which does not exist",
      "src/nn/x.ts loads shaders/gelu.wgsl, which is not of its name",
    ]);
  });
});
