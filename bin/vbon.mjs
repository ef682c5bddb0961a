#!/usr/bin/env node
// `vbon` where the package is installed, `node bin/vbon.mjs` in a clone: the same program.
import { existsSync } from "node:fs";

const main = new URL("../dist/src/cli/main.js", import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  console.error(
    "vbon: not built yet: dist/src/cli/main.js is missing. Run `npm ci` and `npm run build` (or `npm run demo`, which does both).",
  );
  process.exitCode = 2;
}
