/** `vbon doctor`: what this machine offers, and what to install where something is missing. */
import { z } from "zod";
import { exists } from "../../data/files.ts";
import { DeviceError, messageOf } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { TuneTable } from "../../gpu/tune.ts";
import { hasBuiltinGpu, packageUrl, readText, runtime, swiftshaderFolder } from "../../host.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";
import { version } from "../version.ts";

/** The command: exit code 0 with an adapter, 2 without. */
export const doctor: AnyVerb = defineVerb({
  name: "doctor",
  summary:
    "what this machine offers: adapter, driver, limits, and what to install where something is missing",
  schema: z.strictObject({}),
  examples: [{ does: "machine-readable", line: "vbon doctor --json" }],
  run,
});

type Facts = Record<
  string,
  string | number | boolean | readonly string[] | Readonly<Record<string, number | string>>
>;

async function run(_config: object, io: Io): Promise<void> {
  const here: Facts = {
    vbon: await version(),
    runtime: runtime(),
    system: `${process.platform} ${process.arch}`,
    webgpu: await webgpuVersion(),
  };
  let device: Device;
  try {
    device = await io.device();
  } catch (error) {
    const problem = messageOf(error);
    const facts = { ...here, adapter: "none", problem };
    io.result(facts, textOf(facts));
    throw new DeviceError((await advice()).join("\n"));
  }
  await import("../../ops/index.ts"); // ops bring the self-tests of the tiers they use
  await device.selfTest();
  const facts = { ...here, ...factsOf(device) };
  io.result(facts, textOf(facts));
}

const tuningText = (tuning: TuneTable): string => {
  const classes = Object.values(tuning).flatMap((table) => Object.values(table));
  const tuned = classes.filter((settings) => Object.keys(settings).length > 0).length;
  return classes.length === 0
    ? "none (`vbon tune`)"
    : `${tuned} of ${classes.length} classes of shapes (\`vbon tune --list\`)`;
};

function factsOf(device: Device): Facts {
  const { info, limits, software, subgroupSize, gpu } = device;
  return {
    adapter: device.name,
    vendor: info.vendor || "unknown",
    architecture: info.architecture || "unknown",
    driver: info.description || "unknown",
    type: software ? "software (shaders run on the CPU)" : "hardware",
    tiers: Object.fromEntries([...device.tiers].map(([name, { state, why }]) => [name, `${state}: ${why}`])),
    tuning: tuningText(device.tuning),
    subgroupSize: subgroupSize || "none",
    features: [...gpu.features].toSorted(),
    limits: Object.fromEntries(SHOWN_LIMITS.map((name) => [name, limits[name]!])),
  };
}

const SHOWN_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupsPerDimension",
] as const;

/** The installed version of Dawn's package, or what is there instead. */
async function webgpuVersion(): Promise<string> {
  if (hasBuiltinGpu()) return "built into the runtime";
  for (const path of ["node_modules/webgpu/package.json", "../webgpu/package.json"]) {
    try {
      return (JSON.parse(await readText(packageUrl(path))) as { version: string }).version;
    } catch {
      continue;
    }
  }
  return "not installed";
}

async function advice(): Promise<string[]> {
  const lines = ["doctor: no WebGPU adapter: nothing can run here yet. To get one:"];
  if ((await webgpuVersion()) === "not installed")
    lines.push("- run `npm ci`: the package webgpu (Dawn) is missing");
  if (process.platform !== "linux")
    return [...lines, "- update the graphics driver, or use a browser or Deno, which have WebGPU themselves"];
  const folder = swiftshaderFolder();
  return [
    ...lines,
    "- with a GPU: install its maker's Vulkan driver and the loader (Debian, Ubuntu: libvulkan1)",
    "- without one: Mesa's software Vulkan, version 23 or newer (Debian, Ubuntu: apt install mesa-vulkan-drivers libvulkan1; Debian 12: from bookworm-backports)",
    `- without root: \`npm run demo\` in a clone unpacks SwiftShader into ${folder ?? "the cache folder"}${folder && (await exists(folder)) ? " (it is there already)" : ""}`,
  ];
}

function textOf(facts: Facts): string {
  const lines = Object.entries(facts).flatMap(([name, value]) => {
    if (Array.isArray(value)) return [`${name.padEnd(14)}${value.join(", ") || "none"}`];
    if (typeof value === "object")
      return [name, ...Object.entries(value).map(([key, what]) => `  ${key.padEnd(widthOf(value))}${what}`)];
    return [`${name.padEnd(14)}${String(value)}`];
  });
  return lines.join("\n");
}

/** Characters of the longest key, and two. */
const widthOf = (record: object): number => 2 + Math.max(...Object.keys(record).map((key) => key.length));
