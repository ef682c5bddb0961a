/**
 * Asks for a WebGPU adapter and a device, and prints what came as one JSON line: `{ name, kind }`, or
 * `{ error }`. A process of its own, because a driver that does not work may take its process down.
 */
import { gpu } from "../dist/src/host.js";

/** @returns {Promise<object>} */
async function probe() {
  const adapter = await (await gpu()).requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) return { error: "no adapter" };
  const { description, vendor, architecture, device, isFallbackAdapter } = adapter.info;
  (await adapter.requestDevice()).destroy();
  const name = description || [vendor, architecture, device].filter(Boolean).join(" ");
  if (device === "null-backend") return { name, kind: "validates only, computes nothing" };
  return { name, kind: isFallbackAdapter ? "software" : "hardware" };
}

console.log(JSON.stringify(await probe().catch((error) => ({ error: String(error.message ?? error) }))));
