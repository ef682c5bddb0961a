/** Makes sure that there is a WebGPU adapter: the hardware's, else Mesa's, else SwiftShader's. */
import { installMesa } from "./apt.mjs";
import { capture, say } from "./shell.mjs";
import { fetchSwiftshader } from "./swiftshader.mjs";

const REMEDY =
  "Install a Vulkan driver (the GPU maker's, or Mesa's software one: mesa-vulkan-drivers 23 or newer, and libvulkan1), " +
  "or unpack SwiftShader somewhere and set VBON_SWIFTSHADER to its folder.";

/**
 * @param {string} wanted auto or swiftshader
 * @throws Error when there is no adapter and none could be installed
 */
export async function ensureAdapter(wanted) {
  if (wanted === "swiftshader") process.env["VBON_SWIFTSHADER"] = await fetchSwiftshader();
  const first = await probe();
  if (report(first)) return;
  const asked = ["VBON_BACKEND", "VBON_SWIFTSHADER"].find(
    (name) => (process.env[name] ?? "vulkan") !== "vulkan",
  );
  if (asked) throw new Error(`${asked}=${process.env[asked]} gives no WebGPU adapter (${first.error})`);
  if (process.platform !== "linux") throw new Error(`no WebGPU adapter here (${first.error}). ${REMEDY}`);
  say(`no WebGPU adapter here (${first.error}); a software one will do`);
  if ((await attempt(installMesa)) && report(await probe())) return;
  if ((await attempt(fetchSwiftshader)) && report(await probe())) return;
  throw new Error(`no WebGPU adapter could be installed. ${REMEDY}`);
}

/** @param {{ name?: string, kind?: string }} found @returns {boolean} whether there is one */
function report(found) {
  if (found.name === undefined) return false;
  say(`WebGPU adapter: ${found.name} (${found.kind})`);
  return true;
}

/**
 * @param {() => Promise<unknown>} install
 * @returns {Promise<boolean>} false where it cannot be done here; the reason has been said
 */
async function attempt(install) {
  try {
    await install();
    return true;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return false;
  }
}

/** @returns {Promise<{ name?: string, kind?: string, error?: string }>} */
async function probe() {
  const { code, stdout, stderr } = await capture(process.execPath, ["scripts/probe.mjs"]);
  const line = stdout.trim().split("\n").at(-1);
  if (code === 0 && line?.startsWith("{")) return JSON.parse(line);
  return { error: `the probe ended with exit code ${code}: ${stderr.trim().split("\n").at(-1)}` };
}
