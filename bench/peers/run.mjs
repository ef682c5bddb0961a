// `npm run peers -- [--only ITEM] …`: runs the TypeScript beside it, which Node 20 cannot do by itself.
import { runnerImport } from "vite";

const root = new URL("../..", import.meta.url).pathname;
const file = process.argv.includes("--worker") ? "bench/peers/ours/worker.ts" : "bench/peers/main.ts";
await runnerImport(`${root}${file}`, { root, configFile: false, logLevel: "error" });
