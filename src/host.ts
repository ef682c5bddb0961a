/**
 * The runtime under us: Node, Deno, Bun or a browser. This is the only file that asks which one it is.
 * Everything above sees a `GPU`, file contents by URL, a clock, and the environment.
 */
import { ConfigError, DeviceError, FormatError, messageOf } from "./errors.ts";

/** Node's `process`, which Deno and Bun have too; a browser has none. */
const node = (globalThis as { process?: NodeJS.Process }).process?.getBuiltinModule
  ? (globalThis as unknown as { process: NodeJS.Process }).process
  : undefined;

/**
 * A module of Node's, such as "node:fs/promises", which Deno and Bun have too. Found at run time: a browser can load the files that want it.
 * @throws ConfigError in a browser
 */
export function nodeModule<ID extends keyof NodeModules>(name: ID): NodeModules[ID] {
  if (node) return node.getBuiltinModule(name) as NodeModules[ID];
  throw new ConfigError(
    `files: expected a runtime with a disk (Node, Deno, Bun), this is a browser: give an address, ` +
      'such as new URL("model/", document.baseURI), or files by name; save with modelFiles()',
  );
}

interface NodeModules {
  readonly "node:fs/promises": typeof import("node:fs/promises");
  readonly "node:path": typeof import("node:path");
  readonly "node:url": typeof import("node:url");
}

/** True where {@link gpu} is the runtime's own (browsers, Deno), not Dawn from npm. */
export function hasBuiltinGpu(): boolean {
  return builtinGpu() !== undefined && !env("VBON_BACKEND");
}

function builtinGpu(): GPU | undefined {
  return (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
}

/**
 * The GPU objects made by Dawn, by their options. Held for ever: a process whose `create()` object is
 * collected aborts, and a device dies with the object it came from. Not put on `globalThis.navigator`,
 * which would keep Node from exiting.
 */
const opened = new Map<string, Promise<GPU>>();
const held: GPU[] = [];

/**
 * The entry to WebGPU: the runtime's own, else Dawn from the npm package `webgpu`, the same object for the
 * same options. The environment variable `VBON_BACKEND` (null, vulkan, metal, d3d12, ...) chooses Dawn's backend.
 * @param toggles options of Dawn's `create()`, such as `enable-dawn-features=allow_unsafe_apis`; a built-in
 *   WebGPU takes none and ignores them
 * @throws DeviceError when the package does not load here; ConfigError on an unknown backend
 */
export function gpu(toggles: readonly string[] = []): Promise<GPU> {
  const builtin = builtinGpu();
  const backend = env("VBON_BACKEND");
  if (builtin && hasBuiltinGpu()) return Promise.resolve(builtin);
  const options = backend ? [...toggles, `backend=${backend}`] : [...toggles];
  const key = options.join(" ");
  if (!node) return Promise.reject(new DeviceError(NO_WEBGPU));
  const known = opened.get(key) ?? openDawn(options, backend);
  opened.set(key, known);
  return known;
}

const NO_WEBGPU =
  "gpu: this browser has no WebGPU, or keeps it from this page. It takes Chrome or Edge 113, Safari 26, Firefox 141 or newer, and a page " +
  "that comes over https or from this machine.";

const BACKENDS = ["null", "vulkan", "metal", "d3d12", "d3d11", "opengl", "opengles"];

async function openDawn(options: string[], backend: string | undefined): Promise<GPU> {
  if (backend && !BACKENDS.includes(backend)) {
    throw new ConfigError(`VBON_BACKEND: expected one of ${BACKENDS.join(", ")}; got "${backend}"`);
  }
  const dawn = await loadDawn();
  const create = (): GPU => {
    const made = dawn.create(options);
    held.push(made);
    return made;
  };
  const swiftshader = backend && backend !== "vulkan" ? undefined : swiftshaderIcd();
  if (!swiftshader) return create();
  if (!env("VBON_SWIFTSHADER") && hasVulkanDriver()) {
    const system = create();
    if (await system.requestAdapter()) return system;
  }
  useSwiftshader(swiftshader);
  return create();
}

async function loadDawn(): Promise<typeof import("webgpu")> {
  const name = "webgpu"; // a variable, so that bundlers for browsers leave the package out
  try {
    const dawn = (await import(name)) as typeof import("webgpu");
    for (const [key, value] of Object.entries(dawn.globals)) {
      if (!(key in globalThis))
        Object.defineProperty(globalThis, key, { value, configurable: true, writable: true });
    }
    return dawn;
  } catch (error) {
    throw new DeviceError(
      `gpu: expected the npm package webgpu to load on ${runtime()}; got: ${messageOf(error)}. ` +
        "Run `npm ci`; on Linux it needs glibc 2.35 or newer. Or use a runtime that has WebGPU itself (a browser, Deno).",
    );
  }
}

const SWIFTSHADER_ICD = "vk_swiftshader_icd.json";

/**
 * The folder of an unpacked SwiftShader, Google's Vulkan driver in software: `VBON_SWIFTSHADER` (then it is
 * used whatever else there is), else `vbon/swiftshader` in the user's cache folder (then only where no
 * other driver gives an adapter). Undefined where none can be used (not Linux).
 */
export function swiftshaderFolder(): string | undefined {
  if (node?.platform !== "linux") return undefined;
  return env("VBON_SWIFTSHADER") || `${cacheFolder()}/swiftshader`;
}

/** Where vbon keeps what can be found again: `vbon` in the user's cache folder. Undefined in a browser. */
export function cacheFolder(): string | undefined {
  if (!node) return undefined;
  const cache =
    env("XDG_CACHE_HOME") || env("LOCALAPPDATA") || `${node.getBuiltinModule("node:os").homedir()}/.cache`;
  return `${cache}/vbon`;
}

function swiftshaderIcd(): string | undefined {
  const folder = swiftshaderFolder();
  if (!folder || !node) return undefined;
  if (node.getBuiltinModule("node:fs").existsSync(`${folder}/${SWIFTSHADER_ICD}`))
    return `${folder}/${SWIFTSHADER_ICD}`;
  if (!env("VBON_SWIFTSHADER")) return undefined;
  throw new ConfigError(
    `VBON_SWIFTSHADER: expected ${SWIFTSHADER_ICD} in the folder; found none in ${folder}`,
  );
}

/** Whether the Vulkan loader has a driver to look at; it saves a noisy failed attempt where it has not. */
function hasVulkanDriver(): boolean {
  if (env("VK_DRIVER_FILES") || env("VK_ICD_FILENAMES")) return true;
  const data = env("XDG_DATA_DIRS") || "/usr/local/share:/usr/share";
  const roots = [...data.split(":"), "/etc", "/usr/local/etc", `${env("HOME") ?? "/root"}/.local/share`];
  const fs = node?.getBuiltinModule("node:fs");
  return roots.some((root) => {
    const folder = `${root}/vulkan/icd.d`;
    return fs?.existsSync(folder) && fs.readdirSync(folder).some((name) => name.endsWith(".json"));
  });
}

/** Points this process's Vulkan loader at SwiftShader; brings SwiftShader's own loader where the system has none. */
function useSwiftshader(icd: string): void {
  if (!node) return;
  node.env["VK_DRIVER_FILES"] = icd;
  node.env["VK_ICD_FILENAMES"] = icd; // the name that loaders before 1.3.207 know
  const { RTLD_NOW, RTLD_GLOBAL } = node.getBuiltinModule("node:os").constants.dlopen;
  const RTLD_NODELETE = 0x1000;
  const open = (file: string): string => {
    try {
      node.dlopen({ exports: {} }, file, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
      return "";
    } catch (error) {
      return messageOf(error); // "did not self-register" is success: no Node addon, but it stays loaded
    }
  };
  if (open("libvulkan.so.1").includes("cannot open shared object"))
    open(icd.replace(SWIFTSHADER_ICD, "libvulkan.so.1"));
}

/**
 * A text file's content (UTF-8), from disk or over HTTP.
 * @throws FormatError when it cannot be read
 */
export async function readText(url: URL): Promise<string> {
  return new TextDecoder().decode(await readBytes(url));
}

/**
 * A file's bytes, from disk or over HTTP.
 * @throws FormatError when it cannot be read
 */
export async function readBytes(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  try {
    if (url.protocol === "file:" && node) {
      const file = await node.getBuiltinModule("node:fs/promises").readFile(url);
      return new Uint8Array(file.buffer as ArrayBuffer, file.byteOffset, file.byteLength);
    }
    const response = await fetch(url);
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw new FormatError(`${url.href}: expected a readable file; got: ${messageOf(error)}. Check the path.`);
  }
}

/**
 * The URL of a file of this package, such as `shaders/gelu.wgsl`. Code runs from `src/` (tests) and from
 * `dist/src/` (built); shaders and checkpoints lie in the package's root and are not copied.
 */
export function packageUrl(path: string): URL {
  return new URL((HERE.pathname.endsWith("/dist/src/host.js") ? "../../" : "../") + path, HERE);
}

const HERE = new URL(import.meta.url);

/** Whether {@link packageUrl} leads to files: not in a browser, nor from within a bundle. */
export const hasPackageFiles = (): boolean =>
  node !== undefined && HERE.protocol === "file:" && /\/src\/host\.(js|ts)$/.test(HERE.pathname);

const nap = node && new Int32Array(new SharedArrayBuffer(4));

/**
 * Blocks this thread for `ms` milliseconds: Dawn in Node spins while one of its promises is pending and would
 * take a core from a software adapter. Does nothing in a browser, which forbids blocking and does not spin.
 */
export function sleepSlice(ms: number): void {
  if (nap) Atomics.wait(nap, 0, 0, ms);
}

/** Lets every event that is due run once: promises of the GPU settle here. */
export function yieldToEvents(): Promise<void> {
  return new Promise((resolve) => {
    if (node) setImmediate(resolve);
    else setTimeout(resolve, 0);
  });
}

/** CPU time that this process has used, user and system, in milliseconds; 0 in a browser. */
export function cpuTime(): number {
  if (!node) return 0;
  const { user, system } = node.cpuUsage();
  return (user + system) / 1000;
}

/** Bytes of memory that this process holds (its resident set); 0 in a browser. */
export function memoryUsed(): number {
  return node?.memoryUsage.rss() ?? 0;
}

/** Bytes of memory that this process may use: the machine's, or its container's where that is less; Infinity in a browser. */
export function memoryBytes(): number {
  if (!node) return Infinity;
  const allowed = node.constrainedMemory?.() ?? 0;
  const total = node.getBuiltinModule("node:os").totalmem();
  return allowed > 0 ? Math.min(allowed, total) : total;
}

/** The processor's name, which decides how fast a software adapter is; empty in a browser. */
export function processor(): string {
  return node?.getBuiltinModule("node:os").cpus()[0]?.model.trim() ?? "";
}

/** Processors that this process may use. */
export function cores(): number {
  const { hardwareConcurrency } =
    (globalThis as { navigator?: { hardwareConcurrency?: number } }).navigator ?? {};
  return node?.getBuiltinModule("node:os").availableParallelism?.() ?? hardwareConcurrency ?? 1;
}

/** An environment variable; undefined where it is unset, or where there are none (browser). */
export function env(name: string): string | undefined {
  return node?.env[name];
}

/** Whether the chosen backend (`VBON_BACKEND=null`) checks programs without running them. */
export const onlyChecks = (): boolean => env("VBON_BACKEND") === "null";

/** The runtime's name and version: "node 20.20.2", "deno 2.5.0", "bun 1.3.0", "browser". */
export function runtime(): string {
  const versions = node?.versions as Record<string, string | undefined> | undefined;
  const name = ["deno", "bun", "node"].find((candidate) => versions?.[candidate]);
  return name ? `${name} ${versions?.[name]}` : "browser";
}
