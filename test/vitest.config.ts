import type { ViteUserConfig } from "vitest/config";

/** Files run in processes of their own (one GPU device each), two at a time: a software adapter takes every core. */
const config: ViteUserConfig = {
  // Examples import the package by its name; the tests run them on the sources, not on an older build.
  resolve: { alias: { vbon: new URL("../src/index.ts", import.meta.url).pathname } },
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/**/*.test.ts"],
    globalSetup: "test/support/temporary.ts",
    pool: "forks",
    maxWorkers: 2,
    env: { VBON_TUNE: "off" }, // what this machine's user has tuned is no part of what is tested
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
};

export default config;
