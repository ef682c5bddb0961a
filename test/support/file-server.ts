/** A local server of a folder's files that can misbehave: what models and tokenizers are read from by address. */
import { readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** How it misbehaves. */
export interface Faults {
  /** Does not know ranges. */
  noRanges?: boolean;
  /** Keeps the size of the whole file to itself, as a server of another site may. */
  hidesSize?: boolean;
  /** Cuts the connection in the middle of a body. */
  cuts?: boolean;
  /** Sends ranges shorter than asked for, by this many bytes. */
  short?: number;
  /** Answers every request with it. */
  status?: number;
  /** Answers what it has not with a page of HTML, as servers of single-page apps do. */
  pages?: boolean;
  /** Bytes from which on another file is announced than before. */
  changesAt?: number;
}

/** A running server. */
export interface FileServer {
  /** Of the folder; it ends in "/". */
  readonly url: URL;
  readonly faults: Faults;
  /** "/path range", in order. */
  readonly log: string[];
  close(): Promise<void>;
}

/** Serves the files of `folder`. */
export async function fileServer(folder: string): Promise<FileServer> {
  const [faults, log]: [Faults, string[]] = [{}, []];
  const server = createServer((request, response) => {
    log.push(`${request.url} ${request.headers.range ?? "whole"}`);
    answer(folder, request, response, faults);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: new URL(`http://127.0.0.1:${port}/`),
    faults,
    log,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer(folder: string, request: IncomingMessage, response: ServerResponse, faults: Faults): void {
  const path = join(folder, decodeURIComponent(new URL(request.url ?? "/", "http://x").pathname));
  if (faults.status) return void response.writeHead(faults.status).end("no");
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
    if (!faults.pages) return void response.writeHead(404).end();
    return void response
      .writeHead(200, { "content-type": "text/html; charset=utf-8" })
      .end("<!DOCTYPE html>");
  }
  const data = readFileSync(path);
  const range = /^bytes=(\d+)-(\d+)$/.exec(faults.noRanges ? "" : (request.headers.range ?? ""));
  if (!range) return send(response, 200, data, {}, faults);
  const [from, to] = [Number(range[1]), Math.min(Number(range[2]) + 1, data.length)];
  if (from >= data.length) return void response.writeHead(416).end();
  const total = faults.changesAt !== undefined && from >= faults.changesAt ? data.length + 1 : data.length;
  const headers = faults.hidesSize ? {} : { "content-range": `bytes ${from}-${to - 1}/${total}` };
  send(response, 206, data.subarray(from, to - (faults.short ?? 0)), headers, faults);
}

function send(
  response: ServerResponse,
  status: number,
  body: Buffer,
  headers: Readonly<Record<string, string>>,
  { cuts }: Faults,
): void {
  response.writeHead(status, { "content-length": body.length, ...headers });
  if (!cuts) return void response.end(body);
  response.write(body.subarray(0, body.length / 2), () => response.destroy());
}
