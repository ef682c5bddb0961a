import type { ViteUserConfig } from "vitest/config";

/** Files run in processes of their own (one GPU device each), two at a time: a software adapter takes every core. */
const config: ViteUserConfig = {
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
};

export default config;
