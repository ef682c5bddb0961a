/** Folders of runs: nothing is trained that could not be kept, and nobody works in another's. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { testDevice } from "../support/device.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";
import { documents, jsonl, scratch, TINY } from "../support/training.ts";

const device = await testDevice();
afterAll(() => device.close());

const where = scratch();
const at = (name: string): string => join(where, name);
const data = documents(60);
const labelled = jsonl(Array.from({ length: 60 }, (_, i) => ({ text: `the cat ${i}`, label: i % 2 })));

const commands = {
  sft: ["sft", "--data", data, ...TINY, "--steps", "2", "--sample-every", "0"],
  reward: ["reward", "--data", labelled, ...TINY, "--steps", "2"],
  align: ["align", ...flags({ policy: "/no/policy", reward: "lexicon:vader", cache: "/no/cache" })],
  average: ["average", "/no/model", "/no/other"],
};
const run = (name: keyof typeof commands, out: string, ...more: string[]): Promise<Outcome> =>
  vbon(device, [...commands[name], "--out", at(out), ...more]);

/** A lock as a living process has it. */
function occupied(out: string): void {
  mkdirSync(at(out));
  const holder = { pid: process.ppid, host: hostname(), id: "other" };
  writeFileSync(join(at(out), ".lock"), JSON.stringify(holder));
}

describe("a run's folder", () => {
  it.each(["sft", "reward", "align", "average"] as const)("is one process's at a time: %s", async (name) => {
    occupied(`busy-${name}`);
    const { code, stderr } = await run(name, `busy-${name}`);
    expect([code, stderr]).toEqual([
      2,
      `${at(`busy-${name}`)}: is in use by process ${process.ppid} on this machine; wait for it, or choose another --out\n`,
    ]);
  });

  it("is refused to --resume as well, and left free by a run that ends", async () => {
    const out = "trained";
    expect(await run("sft", out)).toMatchObject({ code: 0 });
    expect(readdirSync(at(out))).not.toContain(".lock");
    const holder = { pid: process.ppid, host: hostname(), id: "other" };
    writeFileSync(join(at(out), ".lock"), JSON.stringify(holder));
    const resumed = await vbon(device, ["sft", "--resume", "--out", at(out)]);
    expect([resumed.code, resumed.stderr]).toEqual([2, expect.stringContaining("is in use by process")]);
  });

  it.each(["sft", "reward", "align"] as const)("has no file where a folder is to be: %s", async (name) => {
    const out = `junk-${name}`;
    mkdirSync(at(out));
    writeFileSync(join(at(out), "model"), "");
    const { code, stderr } = await run(name, out);
    expect([code, stderr]).toEqual([
      2,
      `${join(at(out), "model")}: expected a folder or nothing, there is a file; move it, or choose another --out\n`,
    ]);
  });

  it.each(["sft", "reward", "align", "average"] as const)(
    "that cannot be made is refused first: %s",
    async (name) => {
      writeFileSync(at("plain"), "");
      const { code, stderr } = await run(name, "plain/x");
      expect([code, stderr]).toEqual([2, expect.stringContaining("plain/x: cannot make the folder")]);
    },
  );

  it("that holds somebody's model is left alone", async () => {
    mkdirSync(at("mine/model"), { recursive: true });
    const { code, stderr } = await run("sft", "mine");
    expect([code, stderr]).toEqual([2, expect.stringContaining("mine: holds a model already")]);
  });

  it("of a run that ended is worth keeping, also without its checkpoint", async () => {
    expect(await run("sft", "ended")).toMatchObject({ code: 0 });
    rmSync(at("ended/checkpoint"), { recursive: true });
    expect((await run("sft", "ended")).stderr).toMatch(
      /continue it with --resume, or choose another --out\n$/,
    );
  });

  it("is not left behind by a run whose input is missing", async () => {
    const { code } = await vbon(device, ["sft", "--data", "/no/data.txt", "--out", at("deep/er")]);
    expect([code, existsSync(at("deep"))]).toEqual([2, false]);
  });

  it.each([
    ["sft", "--batch", "100000"],
    ["reward", "--dim", "1000000"],
  ] as const)("takes another try after settings that were refused: %s %s", async (name, flag, value) => {
    const out = `again-${name}`;
    const refused = await run(name, out, flag, value);
    expect(refused.code, refused.stderr).toBe(2);
    const again = await run(name, out);
    expect(again.code, again.stderr).toBe(0);
  });

  it("says what to do when a run diverges before its first checkpoint, or after it", async () => {
    const wild = ["--lr", "1e30", "--grad-clip", "0", "--steps", "50"];
    const early = await run("sft", "early", ...wild, "--save-every", "0");
    expect([early.code, early.stderr]).toEqual([
      2,
      expect.stringContaining("there is no checkpoint yet: choose another --out, or delete this one."),
    ]);
    const again = await run("sft", "early");
    expect(again.stderr).toContain("It has no checkpoint yet: nothing is lost if you delete it");
    const late = await run("sft", "late", ...wild, "--save-every", "1");
    expect([late.code, late.stderr]).toEqual([
      2,
      expect.stringContaining("the last checkpoint is as it was."),
    ]);
  });
});
