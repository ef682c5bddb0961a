/**
 * Kernels: a WGSL file, its entry points, and what each entry point binds. Bindings and parameters are
 * given by name; their numbers and offsets are read from the WGSL itself.
 */
import { type TypeInfo, WgslReflect } from "wgsl_reflect/wgsl_reflect.module.js";
import { KernelError } from "../errors.ts";
import { hasPackageFiles, packageUrl, readText } from "../host.ts";
import { unroll } from "./unroll.ts";
import { cut, mentions } from "./wgsl.ts";

/** A WGSL file of `shaders/`. */
export interface Kernel {
  readonly name: string;
  readonly source: string;
}

/** Values put before the source as `const NAME = value;`, and types as `alias NAME = type;`. */
export type Constants = Readonly<Record<string, number | string>>;

/** One entry point with its constants fixed, and what it binds. */
export interface Specialisation {
  readonly key: string;
  readonly label: string;
  readonly entry: string;
  readonly code: string;
  readonly resources: readonly Resource[];
  readonly params: StructLayout | undefined;
}

/** A storage buffer that an entry point uses. */
export interface Resource {
  readonly name: string;
  readonly binding: number;
  readonly writable: boolean;
  /** Bits of the floats in it, alone or in vectors; 0 = integers. */
  readonly floats: 0 | 16 | 32;
}

/** The uniform `params`: its size in bytes and its scalar fields. */
export interface StructLayout {
  readonly binding: number;
  readonly size: number;
  readonly fields: ReadonlyMap<string, { readonly offset: number; readonly type: string }>;
}

/**
 * Reads `shaders/<name>.wgsl`, or what the build has made of it where this package's files are not at hand.
 * @throws FormatError when the file cannot be read
 */
export async function loadKernel(name: string): Promise<Kernel> {
  const source = hasPackageFiles()
    ? await readText(packageUrl(`shaders/${name}.wgsl`))
    : (await import("./shaders.js")).SHADERS[name]!;
  return { name, source };
}

/** A kernel from WGSL at hand, for ops that are not part of this package; `name` is what errors and profiles call it. */
export const kernelFromSource = (name: string, source: string): Kernel => ({ name, source });

/** `kernel`, whose entry points may call the functions of `library`. */
export const using = (kernel: Kernel, library: Kernel): Kernel => ({
  name: kernel.name,
  source: `${kernel.source}\n${library.source}`,
});

const specialisations = new WeakMap<Kernel, Map<string, Specialisation>>();

/**
 * Fixes a kernel's constants and reads its bindings; remembered by kernel and constants.
 * @throws KernelError on an unknown entry point
 */
export function specialise(kernel: Kernel, entry: string, constants: Constants = {}): Specialisation {
  const values = Object.entries(constants).map(([name, value]) => `${name}=${value}`);
  const key = `${kernel.name}.${entry}(${values.join(",")})`;
  const known = specialisations.get(kernel) ?? new Map<string, Specialisation>();
  specialisations.set(kernel, known);
  const found = known.get(key);
  if (found) return found;
  const numbers = new Map(
    Object.entries(constants).filter((pair): pair is [string, number] => typeof pair[1] === "number"),
  );
  const pieces = cut(kernel.source, entry);
  if (!pieces.entries.includes(entry)) {
    throw new KernelError(
      `${kernel.name}: no entry point "${entry}"; shaders/${kernel.name}.wgsl has ${pieces.entries.join(", ")}`,
    );
  }
  const code = withConstants(unroll(pieces.code, numbers), constants);
  const bound = reflect(withConstants(pieces.declarations, constants), unroll(pieces.bodies, numbers));
  const made = { key, entry, code, label: `${kernel.name}.${entry}`, ...bound };
  known.set(key, made);
  return made;
}

/**
 * Directives (`enable`, `requires`, `diagnostic`) must come first in WGSL, then our lines, then the rest. A kernel with an
 * element type for a constant enables f16 where that is f16.
 */
function withConstants(source: string, constants: Constants): string {
  const lines = Object.entries(constants).map(([name, value]) =>
    typeof value === "number" ? `const ${name} = ${value};` : `alias ${name} = ${value};`,
  );
  const halves = Object.values(constants).some((type) => /^(?:f16|vec[234]h)$/.test(`${type}`));
  const directives: string[] = halves ? ["enable f16;"] : [];
  const rest = source.replace(/^(?:enable|requires|diagnostic)\b[^;]*;$/gm, (directive) => {
    directives.push(directive);
    return "";
  });
  return [...directives, ...lines, rest].join("\n");
}

/** The source with its parameters handed over by each dispatch, not read from a buffer that has to be bound. */
export function immediateForm({ code }: Specialisation): string {
  const moved = code.replace(/@group\(0\) @binding\(\d+\) var<uniform> params\b/, "var<immediate> params");
  return `requires immediate_address_space;\n${moved}`;
}

/** Function bodies are left out of what is parsed: the parser need not know all of WGSL, and is quicker. */
function reflect(
  declarations: string,
  bodies: string,
): { resources: Resource[]; params: StructLayout | undefined } {
  const module = new WgslReflect(declarations);
  const resources = module.storage
    .filter((r) => mentions(bodies, r.name))
    .map((r) => ({
      name: r.name,
      binding: r.binding,
      writable: r.access !== "read",
      floats: floatsIn(r.type),
    }));
  const uniform = module.uniforms.find((u) => mentions(bodies, u.name));
  if (!uniform) return { resources, params: undefined };
  const fields = new Map(
    (uniform.members ?? []).map((m) => [m.name, { offset: m.offset, type: m.type.name }]),
  );
  return { resources, params: { binding: uniform.binding, size: uniform.size, fields } };
}

/** Bits of the floats in an array, or in the vectors in it. */
function floatsIn(type: TypeInfo): 0 | 16 | 32 {
  const inner = (type as { format?: TypeInfo | null }).format;
  if (inner) return floatsIn(inner);
  if (/^(?:f32|vec[234]f)$/.test(type.name)) return 32;
  return /^(?:f16|vec[234]h)$/.test(type.name) ? 16 : 0;
}

/**
 * Lays parameters out as the kernel's `struct Params` wants them.
 * @throws KernelError when a field is missing, unknown, or not a finite number where one is needed
 */
export function packParams(
  spec: Specialisation,
  values: Readonly<Record<string, number>>,
): ArrayBuffer | undefined {
  const names = Object.keys(values);
  if (!spec.params) {
    if (names.length > 0) throw new KernelError(`${spec.label}: takes no params, got ${names.join(", ")}`);
    return undefined;
  }
  const { fields, size } = spec.params;
  const unknown = names.find((name) => !fields.has(name));
  if (unknown)
    throw new KernelError(
      `${spec.label}: unknown param "${unknown}"; Params has ${[...fields.keys()].join(", ")}`,
    );
  const packed = new ArrayBuffer(Math.ceil(size / 16) * 16);
  const view = new DataView(packed);
  for (const [name, { offset, type }] of fields) {
    const value = values[name];
    if (value === undefined) throw new KernelError(`${spec.label}: param "${name}" is missing`);
    if (type === "f32") view.setFloat32(offset, value, true);
    else if (type === "i32") view.setInt32(offset, value, true);
    else if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) view.setUint32(offset, value, true);
    else throw new KernelError(`${spec.label}: param "${name}" is ${value}; expected a u32`);
  }
  return packed;
}
