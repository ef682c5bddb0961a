// `npm run bench -- [--json] [--time MS] [name …]`: runs the TypeScript beside it, which Node 20 cannot do by itself.
import { runnerImport } from "vite";

const root = new URL("..", import.meta.url).pathname;
await runnerImport(`${root}bench/ops.bench.ts`, { root, configFile: false, logLevel: "error" });
