/**
 * SwiftShader, Google's Vulkan driver in software, for a Linux where nothing can be installed: taken from the
 * npm package `@sparticuz/chromium`, fetched once into the user's cache folder and never a dependency.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { runNpm, say } from "./shell.mjs";

const PACKAGE = "@sparticuz/chromium@147";
const FILES = ["libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"];

/**
 * Fetches and unpacks SwiftShader unless that has been done before.
 * @returns {Promise<string>} its folder, the one that src/host.ts looks into
 * @throws Error when it cannot be had here
 */
export async function fetchSwiftshader() {
  const { swiftshaderFolder } = await import("../dist/src/host.js");
  const folder = swiftshaderFolder();
  if (!folder || process.arch !== "x64") {
    throw new Error(
      `SwiftShader: packed for Linux on x64 only; this is ${process.platform} on ${process.arch}`,
    );
  }
  if (FILES.every((name) => existsSync(join(folder, name)))) return folder;
  say(`fetching SwiftShader, a software adapter (npm pack ${PACKAGE}, 68 MB) into ${folder}`);
  const packed = mkdtempSync(join(tmpdir(), "vbon-"));
  try {
    const code = await runNpm(["pack", PACKAGE, "--silent", "--pack-destination", packed]);
    if (code !== 0) throw new Error(`SwiftShader: npm pack ${PACKAGE} failed with exit code ${code}`);
    unpack(readFileSync(join(packed, readdirSync(packed)[0] ?? "")), folder);
  } finally {
    rmSync(packed, { recursive: true, force: true });
  }
  return folder;
}

/**
 * Takes the three files out of the package and puts them in place by one rename.
 * @param {Buffer} tarball
 * @param {string} folder
 */
function unpack(tarball, folder) {
  const outer = untar(gunzipSync(tarball)).get("package/bin/swiftshader.tar.br");
  if (!outer) throw new Error(`SwiftShader: ${PACKAGE} has no bin/swiftshader.tar.br any more`);
  const inner = untar(brotliDecompressSync(outer));
  mkdirSync(dirname(folder), { recursive: true });
  const fresh = mkdtempSync(`${folder}-`);
  for (const name of FILES) {
    const content = inner.get(name);
    if (!content) throw new Error(`SwiftShader: ${PACKAGE} holds no ${name} any more`);
    writeFileSync(join(fresh, name), content);
  }
  rmSync(folder, { recursive: true, force: true });
  renameSync(fresh, folder);
}

/**
 * The plain files of a tar archive (ustar: 512-byte headers, sizes in octal).
 * @param {Buffer} tar
 * @returns {Map<string, Buffer>} contents by name
 */
export function untar(tar) {
  /** @type {Map<string, Buffer>} */
  const files = new Map();
  const text = (/** @type {number} */ from, /** @type {number} */ length) =>
    tar.toString("latin1", from, from + length).replace(/\0.*$/s, "");
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0;) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    const type = text(at + 156, 1);
    const start = at + 512;
    if (type === "0" || type === "")
      files.set(text(at, 100).replace(/^\.\//, ""), tar.subarray(start, start + size));
    at = start + Math.ceil(size / 512) * 512;
  }
  return files;
}
