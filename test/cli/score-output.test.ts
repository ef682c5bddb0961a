/** `vbon score --output`: nothing is overwritten, and what a stopped run has left is gone on with. */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../support/device.ts";
import { cli, type Outcome, vbon } from "../support/run-cli.ts";
import { tinyLm } from "../support/tiny-lm.ts";
import { jsonl, scratch } from "../support/training.ts";

const device = await testDevice();
afterAll(() => device.close());

const where = scratch();
const at = (name: string): string => join(where, name);
beforeAll(async () => {
  await tinyLm(device, at("one"), 1);
  await tinyLm(device, at("two"), 2);
  // Keeps how many texts each of its calls was for; it fails, or Ctrl-C comes, when the test says.
  writeFileSync(
    at("reward.mjs"),
    `globalThis.asked = [];
    export default (xs) => {
      asked.push(xs.length);
      globalThis.stop?.();
      return xs.map(() => (globalThis.failAt === asked.length ? NaN : globalThis.worth));
    };\n`,
  );
});

const reward = globalThis as unknown as {
  asked: number[];
  failAt: number;
  worth: number;
  stop: (() => void) | undefined;
};
const spec = ["--reward", at("reward.mjs")];
const rows = Array.from({ length: 1100 }, (_, i) => ({ ids: [1, 2, 3 + (i % 5), 4] }));
const input = jsonl(rows);
const score = (output: string, ...more: string[]): Promise<Outcome> =>
  vbon(device, ["score", "--model", at("one"), "--input", input, "--output", at(output), ...more]);
const lines = (path: string): string[] => readFileSync(at(path), "utf8").trimEnd().split("\n");

/** A run that its reward has stopped after 512 lines; the half of one more is there. */
async function stopped(output: string): Promise<void> {
  Object.assign(reward, { failAt: (reward.asked?.length ?? 0) + 2, worth: 1 });
  const { code } = await score(output, ...spec);
  expect([code, lines(`${output}.partial`).length]).toEqual([2, 512]);
  appendFileSync(at(`${output}.partial`), '{"ids":[1,');
}

describe("an --output that is taken", () => {
  it("is left as it is, be it the input", async () => {
    writeFileSync(at("there.jsonl"), "mine");
    const told = "expected a new name, there is a file already; choose another";
    expect(await score("there.jsonl")).toMatchObject({
      code: 2,
      stderr: `--output ${at("there.jsonl")}: ${told}\n`,
    });
    const onto = await vbon(device, ["score", "--model", "/no/model", "--input", input, "--output", input]);
    expect([onto.code, onto.stderr]).toEqual([2, `--output ${input}: ${told}\n`]);
    expect(readFileSync(at("there.jsonl"), "utf8")).toBe("mine");
    expect(readFileSync(input, "utf8").split("\n")).toHaveLength(1101);
  });

  it("by a folder, below a file or by another process is refused before the work", async () => {
    mkdirSync(at("folder"));
    expect((await score("folder")).stderr).toContain("there is a folder already");
    expect((await score("one/config.json/x")).stderr).toContain("one/config.json: cannot make the folder");
    const holder = { pid: process.ppid, host: hostname(), id: "other" };
    writeFileSync(at("busy.jsonl.lock"), JSON.stringify(holder));
    expect(await score("busy.jsonl")).toMatchObject({
      code: 2,
      stderr: `${at("busy.jsonl")}: is in use by process ${process.ppid} on this machine; wait for it, or choose another --output\n`,
    });
    expect(readdirSync(where).filter((name) => name.includes("partial"))).toEqual([]);
  });
});

describe("what a stopped run has left", () => {
  it("is gone on with, to the same file as in one go", async () => {
    Object.assign(reward, { failAt: 0, worth: 1 });
    expect(await score("whole", ...spec)).toMatchObject({ code: 0 });
    await stopped("parts");
    const before = reward.asked.length;
    const { code, stderr } = await score("parts", ...spec);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain("parts.partial: 512 of 1100 lines are there already");
    expect(stderr).toMatch(/^1100 lines, 3300 tokens: mean NLL .*; mean score 1\.0000/m);
    expect(reward.asked.slice(before)).toEqual([1, 512, 76]);
    expect(readdirSync(where).filter((name) => name.startsWith("parts"))).toEqual(["parts"]);
    const ids = (path: string): unknown[] =>
      lines(path).map((line) => (JSON.parse(line) as { ids: unknown }).ids);
    expect(ids("parts")).toEqual(ids("whole"));
  });

  it("is not mixed with another input, model or reward, nor touched", async () => {
    await stopped("mixed");
    const kept = lines("mixed.partial").slice(0, 512);
    const refused = async (...argv: string[]): Promise<string> => {
      const { code, stderr } = await score("mixed", ...argv);
      expect(code).toBe(2);
      expect(lines("mixed.partial")).toEqual(kept);
      expect(existsSync(at("mixed"))).toBe(false);
      return stderr;
    };
    const left = `${at("mixed.partial")}: was left by a run that was stopped, and cannot be continued: `;
    const todo = "; delete it, or choose another --output";
    expect(await refused(...spec, "--input", jsonl([rows[1], ...rows.slice(1)]))).toContain(
      `${left}line 1 is of another input${todo}`,
    );
    expect(await refused(...spec, "--input", jsonl(rows.slice(0, 20)))).toContain(
      "line 21 is of another input",
    );
    expect(await refused(...spec, "--model", at("two"))).toMatch(
      /line 1 has nll [\d.]+, and now [\d.]+; delete/,
    );
    expect(await refused()).toContain("line 1 has score 1, and now none");
    reward.worth = 2;
    expect(await refused(...spec)).toContain("line 1 has score 1, and now 2");
    reward.worth = 1;
    appendFileSync(at("mixed.partial"), '{"prompt":"x"}\n');
    expect((await score("mixed", ...spec)).stderr).toContain("line 513 is none that vbon score has written");
  });

  it("is what Ctrl-C leaves too", async () => {
    const stopping = new AbortController();
    reward.stop = () => stopping.abort();
    const args = ["score", "--model", at("one"), "--input", input, "--output", at("ctrl"), ...spec];
    const ran = await cli(args, { device, signal: stopping.signal });
    reward.stop = undefined;
    expect([ran.code, ran.stderr]).toEqual([
      130,
      expect.stringContaining("the same command goes on from there"),
    ]);
    expect((await score("ctrl", ...spec)).code).toBe(0);
    expect(lines("ctrl")).toHaveLength(1100);
  });
});

it("an empty input is refused", async () => {
  const none = jsonl([]);
  const { code, stderr } = await vbon(device, ["score", "--model", at("one"), "--input", none]);
  expect([code, stderr]).toEqual([2, `${none}: holds no records; expected texts to score\n`]);
});
