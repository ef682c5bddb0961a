/**
 * Does the built package work on this runtime? Trains a tiny model, and draws text from the shipped one: losses and tokens are compared
 * with the known ones.
 *   node scripts/smoke.mjs | deno run -A scripts/smoke.mjs | bun scripts/smoke.mjs
 *   node scripts/smoke.mjs --browser chromium [more flags of the browser]
 * Prints the result as JSON; exit code 1 when anything is off.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { serveFile } from "../examples/browser/serve.mjs";

/** Losses of the ten steps, in nats: Node 20, Dawn, Mesa's lavapipe. */
const LOSSES = [
  4.187408, 3.89436, 3.726263, 3.505198, 3.24784, 2.991398, 2.767081, 2.530989, 2.303833, 2.088046,
];
/** Adapters differ in the last bits, and ten steps at a high learning rate enlarge that. */
const TOLERANCE = 1e-3;

/** What the shipped checkpoint finds likeliest after "the film is". */
const TOKENS = [257, 349, 323, 297, 257, 349, 323, 297, 257, 709, 489, 540, 257, 899, 991, 641];

const PAGE = `<!doctype html><title>vbon</title>
<script type="importmap">{"imports": {
  "wgsl_reflect/": "/node_modules/wgsl_reflect/",
  "@huggingface/tokenizers": "/node_modules/@huggingface/tokenizers/dist/tokenizers.mjs",
  "@huggingface/jinja": "/node_modules/@huggingface/jinja/dist/index.js"
}}</script>
<script type="module">
const send = (result) => fetch("/result", { method: "POST", body: JSON.stringify(result) });
addEventListener("error", ({ message }) => send({ error: message }));
try {
  const { smokeTrain } = await import("/scripts/smoke-train.mjs");
  const { smokeGenerate } = await import("/scripts/smoke-generate.mjs");
  await send({ ...(await smokeTrain()), ...(await smokeGenerate()) });
} catch (error) {
  await send({ error: String(error?.stack ?? error) });
}
</script>`;

/**
 * Opens a headless browser on a page of this machine and waits for what it reports.
 * @param {string} browser @param {string[]} flags
 * @returns {Promise<(import("./smoke-train.mjs").SmokeResult & import("./smoke-generate.mjs").SmokeText) | { error: string }>}
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
      if (request.url === "/") response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
      else serveFile(request, response);
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

async function here() {
  const { smokeTrain } = await import("./smoke-train.mjs");
  const { smokeGenerate } = await import("./smoke-generate.mjs");
  return { ...(await smokeTrain()), ...(await smokeGenerate()) };
}

/** What is not as it should be. */
function complaints({ losses, tokens, savedAlike, refusals }) {
  const worst = Math.max(...LOSSES.map((loss, i) => Math.abs(loss - losses[i])));
  console.error(
    `largest difference from the known losses: ${worst.toExponential(1)} nats, allowed ${TOLERANCE}`,
  );
  const all = {
    "the losses are others": !(worst <= TOLERANCE),
    [`expected the tokens ${TOKENS}, got ${tokens}`]: String(tokens) !== String(TOKENS),
    "what is saved loads as something else": !savedAlike,
    [`expected a browser to say what it cannot read, got ${refusals.join("; ")}`]:
      refusals.length > 0 &&
      !(/this is a browser/.test(refusals[0]) && /expected tokenizer\.json/.test(refusals[1])),
  };
  return Object.keys(all).filter((what) => all[what]);
}

const [option, browser = "chromium", ...flags] = process.argv.slice(2);
const result = option === "--browser" ? await inBrowser(browser, flags) : await here();
console.log(JSON.stringify(result));
const wrong = "error" in result ? [] : complaints(result);
for (const what of wrong) console.error(what);
if ("error" in result || wrong.length > 0) process.exitCode = 1;
