/** The page in examples/browser: it can find what it imports, and its server gives files as it should. In a browser: scripts/smoke.mjs. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, expect, it } from "vitest";
import * as browser from "../src/browser.ts";
import { loadedBy, staticImports } from "./support/imports.ts";

const ROOT = new URL("../", import.meta.url);
const PAGE = new URL("examples/browser/", ROOT);
const read = (name: string): string => readFileSync(new URL(name, PAGE), "utf8");

const { serveFile } = (await import(new URL("serve.mjs", PAGE).href)) as { serveFile: RequestListener };
const server = createServer(serveFile);
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
afterAll(() => void server.close());

it("has an import map for vbon and every package that it takes", () => {
  const json = /<script type="importmap">([\s\S]*?)<\/script>/.exec(read("index.html"))![1]!;
  const { imports } = JSON.parse(json) as { imports: Record<string, string> };
  for (const name of ["vbon", ...loadedBy("src/browser.ts").outside]) {
    const key = Object.keys(imports).find((k) => k === name || (k.endsWith("/") && name.startsWith(k)))!;
    const path = `.${imports[key]}${name.slice(key.length)}`;
    expect(name === "vbon" || existsSync(new URL(path, ROOT)), `${name} at ${path}`).toBe(true);
  }
});

it("imports only what the API of a browser has", () => {
  for (const file of readdirSync(PAGE).filter((name) => name.endsWith(".mjs"))) {
    const names = /import \{([^}]*)\} from "vbon"/.exec(read(file))?.[1]?.split(",") ?? [];
    expect(Object.keys(browser)).toEqual(expect.arrayContaining(names.map((n) => n.trim()).filter(Boolean)));
    const local = staticImports(read(file)).filter((name) => name.startsWith("."));
    expect(local.filter((name) => !existsSync(new URL(name, PAGE)))).toEqual([]);
  }
});

it("is served with types, whole and in ranges", async () => {
  const page = await fetch(`${at}/examples/browser/`);
  expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
  expect((await fetch(`${at}/examples/browser/page.mjs`)).headers.get("content-type")).toContain(
    "text/javascript",
  );
  const weights = "checkpoints/movie-lm/model.safetensors";
  const { size } = statSync(new URL(weights, ROOT));
  const part = await fetch(`${at}/${weights}`, { headers: { range: "bytes=8-15" } });
  expect([part.status, part.headers.get("content-range")]).toEqual([206, `bytes 8-15/${size}`]);
  const bytes = readFileSync(new URL(weights, ROOT)).subarray(8, 16);
  expect(Buffer.compare(Buffer.from(await part.arrayBuffer()), bytes)).toBe(0);
  expect((await fetch(`${at}/${weights}`, { headers: { range: `bytes=${size}-` } })).status).toBe(416);
});

it.each([
  "package.json",
  "node_modules/zod/package.json",
  "dist/..%2fpackage.json",
  "src/host.ts",
  "no/such",
  "%",
])("serves nothing else: %s", async (path) => expect((await fetch(`${at}/${path}`)).status).toBe(404));
