/** A folder of its own for a test file, and the shared material that may be absent. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { FormatError } from "../../src/errors.ts";

/** A new temporary folder, removed when the test file ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "vbon-data-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The path of shared test data, or undefined (and a printed reason) where this checkout has none. */
export function sharedData(name: string): string | undefined {
  const path = new URL(`../../../shared/data/${name}`, import.meta.url).pathname;
  if (existsSync(path)) return path;
  console.warn(`skipped: ${name} of the shared test data is not here`);
  return undefined;
}

/** The message of the FormatError that `action` rejects with; anything else, or success, is passed on as a failure. */
export async function formatErrorOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
  } catch (error) {
    if (error instanceof FormatError) return error.message;
    throw error;
  }
  throw new Error("expected a FormatError, nothing was thrown");
}

/** Everything an async generator yields. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
