/** A training run that is killed, twice, continues to the weights of one that was not. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileScript, type Script } from "../support/child.ts";
import { documents, scratch, TINY } from "../support/training.ts";

let program: Script;
beforeAll(() => {
  program = compileScript("src/cli/main.ts");
});
afterAll(() => program.dispose());

interface Ended {
  readonly code: number | null;
  readonly killed: boolean;
  readonly err: string;
}

/** Runs `vbon <argv>`; kills it once `enough()` says so. */
function vbon(argv: readonly string[], enough: () => boolean = () => false): Promise<Ended> {
  const child = spawn(process.execPath, [program.path, ...argv], { stdio: ["ignore", "ignore", "pipe"] });
  let [err, killed] = ["", false];
  child.stderr.on("data", (piece: Buffer) => (err += piece.toString()));
  const watch = setInterval(() => {
    if (!killed && enough()) killed = child.kill("SIGKILL");
  }, 2);
  return new Promise((resolve) => {
    child.on("close", (code) => {
      clearInterval(watch);
      resolve({ code, killed, err });
    });
  });
}

describe("kill -9", () => {
  it("costs a training run nothing but time", { timeout: 240_000 }, async () => {
    const where = scratch();
    const [whole, parts] = [join(where, "whole"), join(where, "parts")];
    const flags = [
      "sft",
      "--data",
      documents(80),
      ...TINY,
      "--steps",
      "300",
      "--save-every",
      "3",
      "--eval-every",
      "50",
      "--sample-every",
      "0",
    ];
    const straight = await vbon([...flags, "--out", whole]);
    expect(straight.code, straight.err).toBe(0);

    const steps = (): number =>
      existsSync(join(parts, "metrics.jsonl"))
        ? readFileSync(join(parts, "metrics.jsonl"), "utf8").split("\n").length
        : 0;
    const alive = vbon([...flags, "--out", parts], () => steps() > 80 && refused !== undefined);
    let refused: Ended | undefined;
    await expect.poll(steps, { timeout: 60_000 }).toBeGreaterThan(5);
    refused = await vbon(["sft", "--resume", "--out", parts]);
    expect([refused.code, refused.err]).toEqual([
      2,
      expect.stringMatching(/parts: is in use by process \d+ on this/),
    ]);
    expect(await alive).toMatchObject({ killed: true });
    expect(await vbon(["sft", "--resume", "--out", parts], () => steps() > 170)).toMatchObject({
      killed: true,
    });
    expect(steps()).toBeLessThan(300);
    const last = await vbon(["sft", "--resume", "--out", parts]);
    expect(last.code, last.err).toBe(0);

    const file = (run: string): Buffer => readFileSync(join(run, "model", "model.safetensors"));
    expect(file(parts).equals(file(whole))).toBe(true);
    const losses = (run: string): string[] =>
      readFileSync(join(run, "metrics.jsonl"), "utf8")
        .trim()
        .split("\n")
        .map((line) => line.replace(/,"tokensPerSecond":\d+/, ""));
    expect(losses(parts)).toEqual(losses(whole));
  });
});

describe("a pipe that closes", () => {
  it("ends neither a training run nor its stderr's messages with an error", { timeout: 60_000 }, async () => {
    const out = join(scratch(), "run");
    const argv = [
      "sft",
      "--data",
      documents(40),
      ...TINY,
      "--steps",
      "3",
      "--sample-every",
      "0",
      "--out",
      out,
    ];
    const child = spawn(process.execPath, [program.path, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    child.stderr.destroy();
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect([code, existsSync(join(out, "model", "README.md"))]).toEqual([0, true]);
  });
});
