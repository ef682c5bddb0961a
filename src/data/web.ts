/**
 * Files behind an address, over HTTP: in blocks where the server gives ranges, else whole. A page of HTML where a file should be
 * is no file: servers of web pages answer so for what they have not.
 */
import { FormatError, messageOf } from "../errors.ts";
import { blobReader, expectInside, type FileReader } from "./reader.ts";

/** Bytes asked for at a time: large beside what a request costs. */
const BLOCK = 1 << 23;
/** Blocks kept, the latest: small tensors lie side by side. */
const KEPT = 4;

/** Answers that say that there is no such file; storage that keeps its list of files to itself says 403. */
const ABSENT = new Set([403, 404, 410]);

/**
 * The file at `url`, called `name`; undefined where there is none.
 * @throws FormatError when nobody answers, or with another error than that it is not there
 */
export async function findUrl(url: URL, name: string): Promise<FileReader | undefined> {
  const answer = await firstBlock(url, name);
  return "size" in answer ? answer : undefined;
}

/**
 * The file at `url`, called `name`.
 * @throws FormatError when there is none, or nobody answers
 */
export async function openUrl(url: URL, name: string): Promise<FileReader> {
  const answer = await firstBlock(url, name);
  if ("size" in answer) return answer;
  throw answer;
}

/** The file, or why it is not there. */
async function firstBlock(url: URL, name: string): Promise<FileReader | FormatError> {
  const response = await ask(url, { from: 0, to: BLOCK });
  const { status } = response;
  if (status === 416) return blobReader(url.href, name, new Blob([])); // there is no first byte
  if (!response.ok) {
    await response.body?.cancel();
    const error = refused(url, status);
    if (ABSENT.has(status)) return error;
    throw error;
  }
  const total = status === 206 ? rangeOf(response)?.total : undefined;
  const whole = status === 206 && total === undefined ? await wholeInstead(url, response) : response;
  const bytes = await bodyOf(url, whole);
  if (isPage(whole, bytes)) return pageInstead(url);
  if (total === undefined) return blobReader(url.href, name, new Blob([bytes]));
  return inBlocks(url, name, total, checked(url, bytes, 0, total));
}

/** All of a file of which a part came: a server of another site may keep its size to itself. */
async function wholeInstead(url: URL, part: Response): Promise<Response> {
  await part.body?.cancel();
  const response = await ask(url);
  if (response.status === 200) return response;
  await response.body?.cancel();
  throw refused(url, response.status);
}

/** A file in blocks, of which the latest are kept. */
function inBlocks(url: URL, name: string, size: number, first: Uint8Array): FileReader {
  const blocks = new Map([[0, Promise.resolve(first)]]);
  const blockAt = (index: number): Promise<Uint8Array> => {
    const block = blocks.get(index) ?? readBlock(url, index, size);
    blocks.delete(index);
    blocks.set(index, block);
    const [oldest] = blocks.keys();
    if (blocks.size > KEPT) blocks.delete(oldest!);
    return block;
  };
  return {
    path: url.href,
    name,
    size,
    async read(into, position) {
      expectInside(url.href, size, into.length, position);
      for (let done = 0; done < into.length;) {
        const [index, start] = [Math.floor((position + done) / BLOCK), (position + done) % BLOCK];
        const part = (await blockAt(index)).subarray(start, start + into.length - done);
        into.set(part, done);
        done += part.length;
      }
    },
  };
}

async function readBlock(url: URL, index: number, size: number): Promise<Uint8Array> {
  const response = await ask(url, { from: index * BLOCK, to: Math.min((index + 1) * BLOCK, size) });
  const range = rangeOf(response);
  if (response.status === 206 && range?.from === index * BLOCK && range.total === size)
    return checked(url, await bodyOf(url, response), index, size);
  await response.body?.cancel();
  throw new FormatError(
    `${url.href}: expected bytes from ${index * BLOCK} of ${size}, got HTTP status ${response.status}${range ? ` and bytes from ${range.from} of ${range.total}` : ""}; the file changed, or the server is busy: load it again`,
  );
}

/** `bytes`, where they are all of block `index`. */
function checked(url: URL, bytes: Uint8Array, index: number, size: number): Uint8Array {
  const expected = Math.min(BLOCK, size - index * BLOCK);
  if (bytes.length === expected) return bytes;
  throw new FormatError(
    `${url.href}: expected ${expected} bytes from ${index * BLOCK}, got ${bytes.length}; load it again`,
  );
}

/** Bytes `from` to `to`, exclusive; undefined: all. */
interface Span {
  readonly from: number;
  readonly to: number;
}

async function ask(url: URL, span?: Span): Promise<Response> {
  const headers = span && { range: `bytes=${span.from}-${span.to - 1}` };
  try {
    return await fetch(url, headers && { headers });
  } catch (error) {
    throw new FormatError(
      `${url.href}: expected a file, got no answer (${reasonOf(error)}); check the address, and that the server is up and lets this page read from it (CORS)`,
    );
  }
}

async function bodyOf(url: URL, response: Response): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    const announced = response.headers.get("content-length");
    throw new FormatError(
      `${url.href}: expected ${announced ?? "all"} bytes, the connection ended before (${reasonOf(error)}); load it again`,
    );
  }
}

/** Which bytes came, of how many; undefined where the server does not say. */
function rangeOf({ headers }: Response): { readonly from: number; readonly total: number } | undefined {
  const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get("content-range") ?? "") ?? [];
  return total === undefined ? undefined : { from: Number(from), total: Number(total) };
}

function isPage({ headers }: Response, bytes: Uint8Array): boolean {
  const start = new TextDecoder().decode(bytes.subarray(0, 64));
  return (
    headers.get("content-type")?.startsWith("text/html") === true || /^\s*<(!doctype )?html/i.test(start)
  );
}

const pageInstead = (url: URL): FormatError =>
  new FormatError(
    `${url.href}: expected a file, got a page of HTML; check the address: on huggingface.co files are below /OWNER/NAME/resolve/main/`,
  );

const REMEDIES: Readonly<Record<number, string>> = {
  401: "it is not open to everyone: download it, and give its folder or its files",
  403: "it is not there, or not open to everyone",
  404: "there is no such file; check the address",
  410: "it is gone; check the address",
  429: "the server has had too many requests: wait, then load it again",
};

const refused = (url: URL, status: number): FormatError =>
  new FormatError(
    `${url.href}: expected a file, got HTTP status ${status}; ${REMEDIES[status] ?? "try again later, or another address"}`,
  );

/** Node says what went wrong in the error's cause. */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${messageOf(cause)}`;
}
