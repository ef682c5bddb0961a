/** A stdout that ends before the command does: what only prints stops, what writes files goes on, a full disk is told. */
import { EventEmitter } from "node:events";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { createOutput } from "../../src/cli/output.ts";
import { type AnyVerb, defineVerb, type Io, type Schema } from "../../src/cli/verb.ts";
import { verbs } from "../../src/cli/verbs.ts";
import { cli } from "../support/run-cli.ts";

/** A stream that fails with `code` after its first text, as process.stdout does: by an event, later. */
function failing(code: string): { stream: EventEmitter & { write(text: string): void }; texts: string[] } {
  const texts: string[] = [];
  const write = (text: string): void => {
    texts.push(text);
    const error = Object.assign(new Error(`${code}: oh`), { code, syscall: "write" });
    if (texts.length > 1) process.nextTick(() => stream.emit("error", error));
  };
  const stream = Object.assign(new EventEmitter(), { write });
  return { stream, texts };
}

const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

describe("stdout", () => {
  it.each([
    ["EPIPE", []],
    [
      "ENOSPC",
      ["stdout: cannot be written (no space left on the device); make room there, or choose another place"],
    ],
  ])("takes nothing more after %s, and throws nothing", async (code, told) => {
    const { stream, texts } = failing(code);
    const heard: string[] = [];
    const output = createOutput(stream, (line) => heard.push(line));
    for (const text of ["a", "b", "c"]) {
      output.write(text);
      await later();
    }
    stream.emit("error", new Error("again"));
    expect([texts, heard, output.closed!.aborted]).toEqual([["a", "b"], told, true]);
  });
});

describe("a command whose reader is gone", () => {
  /** Prints ten lines; answers how many before it was stopped. */
  async function printed(schema: Schema, argv: readonly string[]): Promise<{ lines: number; code: number }> {
    let lines = 0;
    const run = async (_: unknown, io: Io): Promise<void> => {
      for (; lines < 10 && !io.signal.aborted; lines++) {
        io.result({}, "line");
        await later();
      }
    };
    const verb: AnyVerb = defineVerb({ name: "do", summary: "does", schema, examples: [], run });
    const stdout = createOutput(failing("EPIPE").stream, () => {});
    const { code } = await cli(["do", ...argv], { stdout, verbs: { do: async () => verb } });
    return { lines, code };
  }

  const text = z.string().optional().meta({ description: "x", hint: "FILE" });
  it.each([
    ["stops where it only prints", {}, [], 2],
    ["stops where its output is stdout", { output: text }, [], 2],
    ["goes on where it has an --output", { output: text }, ["--output", "x"], 10],
    ["goes on where it writes a folder", { out: text }, [], 10],
  ])("%s; exit code 0", async (_, shape, argv, lines) => {
    expect(await printed(z.strictObject(shape), argv)).toEqual({ lines, code: 0 });
  });

  it.each([
    ["generate", false],
    ["score", false],
    ["sft", true],
    ["align", true],
    ["cache", true],
    ["sweep", true],
    ["tune", true],
    ["bench", true],
  ])("as --out says: %s", async (name, writes) => {
    expect("out" in (await verbs[name]!()).schema.shape).toBe(writes);
  });
});
