// `npm run peers -- [--only ITEM] …`, or a worker of it: `run.mjs --worker FILE TASK`. Runs TypeScript, which Node 20 cannot.
import { runnerImport } from "vite";

const root = new URL("../..", import.meta.url).pathname;
const at = process.argv.indexOf("--worker");
const file = at < 0 ? "main.ts" : process.argv[at + 1];
await runnerImport(`${root}bench/peers/${file}`, { root, configFile: false, logLevel: "error" });
