/**
 * Does the built package work on this runtime? Trains a tiny model and compares its losses with the known ones.
 *   node scripts/smoke.mjs | deno run -A scripts/smoke.mjs | bun scripts/smoke.mjs
 *   node scripts/smoke.mjs --browser chromium [more flags of the browser]
 * Prints the result as JSON; exit code 1 when a loss is off.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Losses of the ten steps, in nats: Node 20, Dawn, Mesa's lavapipe. */
const LOSSES = [
  4.187408, 3.89436, 3.726263, 3.505198, 3.24784, 2.991398, 2.767081, 2.530989, 2.303833, 2.088046,
];
/** Adapters differ in the last bits, and ten steps at a high learning rate enlarge that. */
const TOLERANCE = 1e-3;

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TYPES = {
  ".mjs": "text/javascript",
  ".js": "text/javascript",
  ".wgsl": "text/plain",
  ".json": "application/json",
};
const PAGE = `<!doctype html><title>vbon</title>
<script type="importmap">{"imports": {"wgsl_reflect/": "/node_modules/wgsl_reflect/"}}</script>
<script type="module">
const send = (result) => fetch("/result", { method: "POST", body: JSON.stringify(result) });
addEventListener("error", ({ message }) => send({ error: message }));
try {
  const { smokeTrain } = await import("/scripts/smoke-train.mjs");
  await send(await smokeTrain());
} catch (error) {
  await send({ error: String(error?.stack ?? error) });
}
</script>`;

/** @param {string} path @returns {{ type: string, body: string | Buffer } | undefined} */
function serve(path) {
  if (path === "/") return { type: "text/html", body: PAGE };
  const inside = normalize(path).replace(/^[/\\]+/, "");
  if (!/^(dist|shaders|scripts|node_modules[/\\]wgsl_reflect)[/\\]/.test(inside)) return undefined;
  try {
    return { type: TYPES[extname(inside)] ?? "text/plain", body: readFileSync(join(ROOT, inside)) };
  } catch {
    return undefined;
  }
}

/**
 * Opens a headless browser on a page of this machine and waits for what it reports.
 * @param {string} browser @param {string[]} flags
 * @returns {Promise<import("./smoke-train.mjs").SmokeResult | { error: string }>}
 */
async function inBrowser(browser, flags) {
  const profile = mkdtempSync(join(tmpdir(), "vbon-browser-"));
  const server = createServer();
  const result = new Promise((resolve) => {
    server.on("request", (request, response) => {
      if (request.method === "POST") {
        let body = "";
        request
          .on("data", (chunk) => (body += chunk))
          .on("end", () => {
            response.end();
            resolve(JSON.parse(body));
          });
        return;
      }
      const file = serve(new URL(request.url ?? "/", "http://127.0.0.1").pathname);
      response.writeHead(file ? 200 : 404, { "content-type": file?.type ?? "text/plain" }).end(file?.body);
    });
    setTimeout(() => resolve({ error: "the browser reported nothing for two minutes" }), 120_000).unref();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const url = `http://127.0.0.1:${port}/`;
  const child = spawn(browser, ["--headless", `--user-data-dir=${profile}`, ...flags, url], {
    stdio: "ignore",
  });
  const gone = new Promise((resolve) => {
    child.on("error", (error) => resolve({ error: error.message }));
    child.on("exit", (code) => resolve({ error: `${browser} ended with code ${code} before it reported` }));
  });
  try {
    return await Promise.race([result, gone]);
  } finally {
    child.kill();
    server.close();
    server.closeAllConnections();
    await gone;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

const [option, browser = "chromium", ...flags] = process.argv.slice(2);
const result =
  option === "--browser"
    ? await inBrowser(browser, flags)
    : await (await import("./smoke-train.mjs")).smokeTrain();
console.log(JSON.stringify(result));
if ("error" in result) process.exitCode = 1;
else {
  const worst = Math.max(...LOSSES.map((loss, i) => Math.abs(loss - result.losses[i])));
  const agrees = worst <= TOLERANCE;
  console.error(
    `largest difference from the known losses: ${worst.toExponential(1)} nats, allowed ${TOLERANCE}`,
  );
  if (!agrees) process.exitCode = 1;
}
