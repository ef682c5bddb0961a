/**
 * The public API of Node, Deno and Bun: that of a browser, and what needs a disk or packages that a browser does without. What is not
 * here may change without notice.
 * @example
 * const device = await openDevice();
 * const program = await record(device, "square", () => { const x = input([3]); return { x, y: ops.mul(x, x) }; });
 * program.result.x.write([1, 2, 3]);
 * program.run();
 * await program.result.y.read(); // 1, 4, 9
 */
export * from "./browser.ts";

// Models on disk.
export { saveGguf } from "../models/gguf.ts";
export { saveModel } from "../models/load.ts";

// Alignment.
export { fitExponential } from "./align/best-of-n/exponential-fit.ts";
export { openCacheWriter, readCache } from "./align/cache/file.ts";
export { cutPrompts } from "./align/cache/prompts.ts";
export { vaderReward } from "./align/rewards.ts";
export { renderReport } from "./report/page.ts";
export type { Comparison } from "./report/types.ts";
