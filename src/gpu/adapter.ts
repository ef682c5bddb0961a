/** Adapters: which ones to try, the most capable first. */
import { DeviceError, messageOf } from "../errors.ts";
import { gpu, hasBuiltinGpu, runtime } from "../host.ts";
import { MATRIX_FEATURE } from "./tiers.ts";

/**
 * What Dawn has to be told when its GPU object is made. Tensor cores are an experiment there, on Vulkan they want its
 * memory model, and f16 is off on NVIDIA because some built-ins fail its conformance tests: we store f16 and
 * multiply matrices of it, and every device is checked ({@link Device.selfTest}).
 */
const FOR_TENSOR_CORES = "allow_unsafe_apis,vulkan_enable_f16_on_nvidia,use_vulkan_memory_model";

/**
 * Drivers check accesses to buffers themselves. Dawn's own clamps of every index, in workgroup memory too, cost a tenth to a third on
 * software adapters and half the speed of a product on an H200 (docs/performance.md). Tests keep them.
 */
const UNCLAMPED = "disable_robustness";

/** Timestamps in nanoseconds, where Dawn would give steps of 65 microseconds. Nothing asks for any but a profile. */
const EXACT_TIMES = "disable-dawn-features=timestamp_quantization";

/** The adapters of this machine to ask for a device, in this order. */
export interface Adapters {
  /** They run shaders on the CPU. */
  readonly software: boolean;
  readonly candidates: readonly GPUAdapter[];
}

/**
 * Finds the best adapter, then the same one again with the options that its kind wants; the plain one stays the
 * fallback, so that no option is ever required.
 * @param validation keep Dawn's bounds checks
 * @throws DeviceError when there is no adapter, with what to install
 */
export async function findAdapters(power: GPUPowerPreference, validation: boolean): Promise<Adapters> {
  const request = { powerPreference: power };
  const plain = await (await gpu()).requestAdapter(request);
  if (!plain) {
    throw new DeviceError(
      `device: no WebGPU adapter was found. ${runtime() === "browser" ? IN_BROWSER : ON_SYSTEM}`,
    );
  }
  const software = plain.info.isFallbackAdapter === true;
  if (hasBuiltinGpu() || (software && validation)) return { software, candidates: [plain] };
  const toggles = [...(software ? [] : [FOR_TENSOR_CORES]), ...(validation ? [] : [UNCLAMPED])];
  const better = await (
    await gpu([`enable-dawn-features=${toggles.join(",")}`, EXACT_TIMES])
  ).requestAdapter(request);
  return { software, candidates: better ? [better, plain] : [plain] };
}

/** What our kernels can use, where it is there. */
const WANTED_FEATURES = [
  "subgroups",
  "shader-f16",
  "timestamp-query",
  "subgroup-size-control",
  MATRIX_FEATURE,
] as const;

/**
 * The first adapter that gives a device, and the device, with every feature that we can use.
 * @param limits "default": only what every adapter has; otherwise all that this one has
 * @throws DeviceError when none does
 */
export async function firstDevice(
  [adapter, ...others]: readonly GPUAdapter[],
  limits?: "default",
): Promise<[GPUAdapter, GPUDevice]> {
  const wanted = {
    label: "vbon",
    requiredLimits: limits === "default" ? {} : allLimits(adapter!.limits),
    requiredFeatures: WANTED_FEATURES.filter((f) => adapter!.features.has(f)) as GPUFeatureName[],
  };
  try {
    return [adapter!, await adapter!.requestDevice(wanted)];
  } catch (error) {
    if (others.length > 0) return firstDevice(others, limits);
    throw new DeviceError(`device: the adapter gave no device: ${messageOf(error)}. Update its driver.`);
  }
}

function allLimits(limits: GPUSupportedLimits): Record<string, number> {
  const wanted: Record<string, number> = {};
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(limits) as object)) {
    const value = (limits as unknown as Record<string, unknown>)[name];
    if (typeof value === "number") wanted[name] = value;
  }
  return wanted;
}

const ON_SYSTEM =
  "On Linux install a Vulkan driver: the GPU maker's, or Mesa's software one (mesa-vulkan-drivers 23 or newer and " +
  "libvulkan1); `npm run demo` does that by itself. `vbon doctor` says more.";

const IN_BROWSER =
  "Turn WebGPU and hardware acceleration on in this browser's settings; Chromium without a GPU needs the flag " +
  "--enable-unsafe-webgpu. Pages must come over https or from this machine.";
