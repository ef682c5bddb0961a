/**
 * Serves this package's files to the browsers of this machine: open the address that it prints.
 *   node examples/browser/serve.mjs [port]
 * Any server of static files will do in its place, if it knows the types of .mjs and .js; ranges save memory with large models.
 */
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PACKAGES = "@huggingface/tokenizers|@huggingface/jinja|wgsl_reflect";
const SERVED = new RegExp(`^(dist|checkpoints|examples/browser|scripts|node_modules/(${PACKAGES}))/`);

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".txt": "text/plain; charset=utf-8",
  ".wgsl": "text/plain; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** The file that the path of a URL, which has no ".." any more, leads to; undefined where there is none, or it is not the page's business. */
function fileAt(path) {
  const inside = path.slice(1);
  if (!SERVED.test(inside)) return undefined;
  const name = inside.endsWith("/") ? `${inside}index.html` : inside;
  // Packages may lie in a folder above, as Node looks for them.
  for (let folder = ROOT; ; folder = dirname(folder)) {
    const file = join(folder, name);
    if (existsSync(file) && statSync(file).isFile()) return file;
    if (!name.startsWith("node_modules/") || folder === dirname(folder)) return undefined;
  }
}

/** The bytes that a request asks for, [from, to): all, or one range of them; undefined where there is none such. */
function rangeOf({ headers }, size) {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? [];
  if (from === undefined) return { from: 0, to: size };
  const range = { from: Number(from), to: to ? Math.min(Number(to) + 1, size) : size };
  return range.from < range.to ? range : undefined;
}

/**
 * Answers a request for a file.
 * @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response
 */
export function serveFile(request, response) {
  const file = fileAt(new URL(request.url ?? "/", "http://127.0.0.1").pathname);
  if (!file) return void response.writeHead(404, { "content-type": "text/plain" }).end("not found");
  const { size } = statSync(file);
  const range = rangeOf(request, size);
  if (!range) return void response.writeHead(416, { "content-range": `bytes */${size}` }).end();
  const { from, to } = range;
  const part = request.headers.range ? { "content-range": `bytes ${from}-${to - 1}/${size}` } : {};
  response.writeHead(request.headers.range ? 206 : 200, {
    "content-type": TYPES[extname(file)] ?? "application/octet-stream",
    "content-length": to - from,
    "accept-ranges": "bytes",
    "cache-control": "no-cache",
    ...part,
  });
  if (to > from) createReadStream(file, { start: from, end: to - 1 }).pipe(response);
  else response.end();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const port = Number(process.argv[2] ?? 8080);
  if (!(port >= 0 && port < 65536)) {
    console.error(
      `serve: expected a port below 65536, got ${process.argv[2]}: node examples/browser/serve.mjs 8081`,
    );
    process.exit(2);
  }
  if (!existsSync(join(ROOT, "dist/src/browser.js"))) {
    console.error("serve: the page loads dist/, which is not there; run `npm ci && npm run build` first");
    process.exit(2);
  }
  const server = createServer((request, response) => {
    if (request.url === "/") response.writeHead(302, { location: "/examples/browser/" }).end();
    else serveFile(request, response);
  });
  server.listen(port, "127.0.0.1", () => {
    const address = /** @type {import("node:net").AddressInfo} */ (server.address());
    console.log(`http://127.0.0.1:${address.port}/examples/browser/`);
  });
  server.on("error", ({ message }) => {
    console.error(`${message}; give another port: node examples/browser/serve.mjs 8081`);
    process.exitCode = 1;
  });
}
