/** A local server that speaks as much of the Hugging Face hub's API as a download needs, and can misbehave. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { vi } from "vitest";

/** How it misbehaves. */
export interface Faults {
  /** Cuts the connection after so many bytes of a large file, once each time that it is asked. */
  cutAt?: number;
  /** Milliseconds between two pieces. */
  slow?: number;
  /** Sends other bytes than it has announced. */
  corrupt?: boolean;
  /** Does not know ranges. */
  noRanges?: boolean;
  /** Names to list beside the files. */
  extra?: readonly unknown[];
  /** Answers every request with it. */
  status?: number;
  /** Asks for this token. */
  token?: string;
}

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** A running server. */
export interface HubServer {
  readonly url: string;
  readonly faults: Faults;
  /** "GET /path [range]", in order. */
  readonly log: string[];
  close(): Promise<void>;
}

/** Serves `files` as `name` at revisions main, v1 and the hub's conversion; those over 1 kB as large files. */
export async function hubServer(
  files: ReadonlyMap<string, Buffer>,
  kind: "models" | "datasets" = "models",
  name = "owner/tiny",
): Promise<HubServer> {
  const [faults, log]: [Faults, string[]] = [{}, []];
  const listing = new RegExp(
    String.raw`^/api/${kind}/${name}/revision/(main|v1|refs%2Fconvert%2Fparquet|${COMMIT})\?blobs=true$`,
  );
  const resolved = new RegExp(`^${kind === "models" ? "" : `/${kind}`}/${name}/resolve/${COMMIT}/(.+)$`);
  const server = createServer((request, response) => void answer(request, response));
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url = "", headers } = request;
    log.push(`${url}${headers.range ? ` ${headers.range}` : ""}`);
    const open = faults.token === undefined || headers.authorization === `Bearer ${faults.token}`;
    if (!open || faults.status) return void response.writeHead(open ? faults.status! : 401).end();
    if (listing.test(url)) {
      const siblings = [...[...files].map(([name, data]) => siblingOf(name, data)), ...(faults.extra ?? [])];
      return void response.end(JSON.stringify({ id: name, sha: COMMIT, siblings }));
    }
    const file = resolved.exec(url)?.[1];
    const data = file && files.get(decodeURIComponent(file));
    if (!data) return void response.writeHead(404).end();
    await send(data, headers.range, response);
  }
  async function send(data: Buffer, range: string | undefined, response: ServerResponse): Promise<void> {
    const from = faults.noRanges ? 0 : Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    const body = Buffer.from(data.subarray(from));
    if (faults.corrupt && body.length > 1000) body[10]! ^= 1;
    const headers = { "content-length": body.length };
    if (from > 0)
      response.writeHead(206, {
        ...headers,
        "content-range": `bytes ${from}-${data.length - 1}/${data.length}`,
      });
    else response.writeHead(200, headers);
    const size = Math.max(1, Math.ceil(body.length / 5));
    for (let at = 0; at < body.length; at += size) {
      if (faults.slow) await new Promise((resolve) => setTimeout(resolve, faults.slow));
      const end = faults.cutAt && body.length > 1000 ? Math.min(at + size, faults.cutAt) : at + size;
      await new Promise((resolve) => response.write(body.subarray(at, end), resolve));
      if (faults.cutAt && body.length > 1000 && end === faults.cutAt) return void response.destroy();
    }
    response.end();
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    faults,
    log,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function siblingOf(rfilename: string, data: Buffer): unknown {
  const blobId = createHash("sha1").update(`blob ${data.length}\0`).update(data).digest("hex");
  if (data.length <= 1000) return { rfilename, blobId, size: data.length };
  const sha256 = createHash("sha256").update(data).digest("hex");
  return { rfilename, blobId, size: data.length, lfs: { sha256, size: data.length, pointerSize: 130 } };
}

/** Makes `server` the hub of this test's environment and the folder `cache` its cache; the server has seen nothing yet. */
export function pointAt(server: HubServer, cache: string): void {
  vi.stubEnv("HF_ENDPOINT", server.url);
  vi.stubEnv("HF_HUB_CACHE", cache);
  vi.stubEnv("HF_HUB_OFFLINE", undefined);
  vi.stubEnv("HF_TOKEN", undefined);
  server.log.length = 0;
}

/** Undoes that, and what the server was told to do wrong. */
export function leave(server: HubServer): void {
  vi.unstubAllEnvs();
  for (const key of Object.keys(server.faults)) delete server.faults[key as keyof Faults];
}
