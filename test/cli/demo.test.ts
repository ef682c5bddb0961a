/** `vbon demo --quick` on a random model: stopped, continued from its caches, repeated; what it prints and what it writes. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import { fixed } from "../../src/report/format.ts";
import type { Comparison, MethodResult } from "../../src/report/types.ts";
import { testDevice } from "../support/device.ts";
import { type Outcome, vbon } from "../support/run-cli.ts";
import { letterReward, tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-demo-"));
const at = (name: string): string => join(folder, name);
await tinyLm(device, at("lm"));
const reward = letterReward(folder);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

const SCRIPT = "<script>alert(1)</script>";
const line = (split: string, prompt: string): string => `${JSON.stringify({ split, prompt })}\n`;
writeFileSync(
  at("prompts.jsonl"),
  ["the cat", "a dog ran", "the tree", "so we saw"].map((p) => line("train", p)).join("") +
    [`${SCRIPT} a cat`, "the red house", "a big mat"].map((p) => line("test", p)).join(""),
);

const args = { policy: at("lm"), reward, prompts: at("prompts.jsonl"), out: at("run") };
const demo = (
  settings: Partial<typeof args>,
  ...rest: [argv?: string[], heard?: Parameters<typeof vbon>[2]]
): Promise<Outcome> => {
  const flags = Object.entries({ ...args, ...settings }).flatMap(([name, value]) => [`--${name}`, value]);
  return vbon(device, ["demo", "--quick", ...flags, ...(rest[0] ?? [])], rest[1]);
};
const page = (): string => readFileSync(at("run/report.html"), "utf8");

/** The numbers that the page offers for download. */
function downloaded(html: string): Comparison {
  const [, kind, data] = /download="comparison\.json" href="data:application\/json([^,"]*),([^"]*)"/.exec(
    html,
  )!;
  return JSON.parse(
    kind!.includes("base64") ? Buffer.from(data!, "base64").toString() : decodeURIComponent(data!),
  ) as Comparison;
}

describe("the demo", () => {
  it("stops at Ctrl-C with its caches kept", async () => {
    const { code, stderr } = await demo({}, [], (text, stop) => text.startsWith("2/4") && stop());
    expect(code, stderr).toBe(130);
    expect(stderr).toMatch(/stopped; the same command goes on from the caches in /);
    expect(readdirSync(at("run")).map((name) => name.replace(/-[0-9a-f]{8}\./, "."))).toEqual([
      "cache-test.jsonl",
      "cache-train.jsonl",
    ]);
  });

  it("goes on from there, prints table and samples, and writes report and models", async () => {
    const { code, stdout, stderr } = await demo({});
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/4 prompts are in .*cache-train-[0-9a-f]{8}\.jsonl already/);
    expect(stderr).toMatch(/3 prompts are in .*cache-test-[0-9a-f]{8}\.jsonl already/);
    for (const row of [/^reference +/m, /^best-of-8 +/m, /^ppo, beta = [\d.]+ +/m, /^vbon, N = 8 +/m])
      expect(stdout).toMatch(row);
    expect(stdout).toContain("> the red house");
    expect(stdout).toMatch(/^where time went/m);
    for (const stage of ["align: generate", "align: score", "align: update", "evaluate", "cache"])
      expect(stdout).toContain(stage);
    expect(stdout).toContain(`report: ${at("run/report.html")}`);
    for (const name of ["vbon", "ppo"]) {
      const model = await loadModel(device, at(`run/${name}`), { trainable: false });
      model.parameters.dispose();
      expect(existsSync(at(`run/${name}/tokenizer.json`))).toBe(true);
    }
  });

  it("writes the numbers it prints, the same ones at every run, and no markup that a model wrote", async () => {
    const before = downloaded(page());
    const { code, stdout, stderr } = await demo({}, ["--json"]);
    expect(code, stderr).toBe(0);
    const records = stdout
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text) as Record<string, unknown>);
    expect(records.map((r) => r["kind"])).toEqual(["results", "samples", "time", "report"]);
    const methods = records[0]!["methods"] as MethodResult[];
    expect(methods.map((m) => m.name)).toEqual(["reference", "vbon", "ppo", "best-of-8"]);
    const html = page();
    expect(downloaded(html).methods).toEqual(methods);
    expect(before.methods).toEqual(methods);
    expect(downloaded(html).samples).toEqual(before.samples);
    for (const { reward: r, win, kl } of methods)
      for (const x of [r, win, kl]) expect(html).toContain(fixed(x));
    expect(html).not.toContain("<script");
    expect(html).toContain("&lt;script&gt;alert(1)&lt;/script&gt; a cat");
    const [reference, ...learned] = methods;
    const bon = learned.pop();
    expect(reference!.kl).toBe(0);
    expect(bon!.reward).toBeGreaterThan(reference!.reward);
    for (const { kl } of learned) expect(kl).toBeGreaterThan(0);
  });

  it("keeps a cache of its own for other settings", async () => {
    const { code, stderr } = await demo(
      {},
      ["--seed", "1"],
      (text, stop) => text.startsWith("2/4") && stop(),
    );
    expect(code, stderr).toBe(130);
    expect(readdirSync(at("run")).filter((name) => name.startsWith("cache-"))).toHaveLength(4);
  });
});

describe("bad input", () => {
  const expectRefusal = async (settings: Partial<typeof args>, message: RegExp): Promise<void> => {
    const { code, stdout, stderr } = await demo({ out: at("bad"), ...settings });
    expect({ code, stdout }, stderr).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
  };
  const prompts = (text: string): string => {
    writeFileSync(at("bad.jsonl"), text);
    return at("bad.jsonl");
  };

  it("is refused with the line it is in", async () => {
    await expectRefusal(
      { prompts: prompts(`${line("train", "a")}{"split": "dev", "prompt": "b"}\n`) },
      /bad\.jsonl:2: expected \{split, ids\}/,
    );
    await expectRefusal(
      { prompts: prompts(line("train", "a")) },
      /expected prompts of both splits, got 1 of train and 0 of test/,
    );
    await expectRefusal(
      { prompts: prompts(`${line("train", "a")}{"split":"test","ids":[999]}\n`) },
      /holds the id 999; expected ids from 0 to/,
    );
  });

  it("such as a reward that tells nothing apart is refused before anything is trained", async () => {
    writeFileSync(at("constant.mjs"), "export default (inputs) => inputs.map(() => 1);\n");
    await expectRefusal(
      { reward: at("constant.mjs") },
      /all equal; expected a reward that tells responses apart/,
    );
  });
});
