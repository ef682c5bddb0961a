/** `vbon align` with offline methods on a random model: what a run leaves behind, resuming, refusals. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openAlignTask, computed } from "../support/align-task.ts";
import { flags, type Outcome, records, vbon } from "../support/run-cli.ts";

const { device, task, at } = await openAlignTask();

type Settings = Parameters<typeof flags>[0];
type OnStderr = Parameters<typeof vbon>[2];
const run: Settings = {
  ...task.run,
  method: "dpo",
  n: 2,
  minibatch: 8,
  microBatch: 4,
  passes: 4,
  saveEvery: 3,
};
const align = (settings: Settings, onStderr?: OnStderr): Promise<Outcome> =>
  vbon(device, ["align", ...flags({ ...run, ...settings })], onStderr);

it("says which flags it does not read", async () => {
  const { stderr } = await align({ out: at("unread"), passes: 1, clipRange: 0.1, ppoEpochs: 2 });
  expect(stderr).toMatch(/warning: dpo does not read .*--ppo-epochs.*--clip-range/);
});

describe("a run", () => {
  it("leaves model, card, metrics and evaluation, improves the reward, leaves the reference alone", async () => {
    const before = readFileSync(join(task.policy, "model.safetensors"));
    const { code, stdout, stderr } = await align({
      out: at("run"),
      evalCache: task.test,
      evalEvery: 20,
      evalSamples: 16,
      n: 4,
      passes: 20,
      beta: 0.2,
      json: true,
    });
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/60 steps of 4 pairs; \d+ MiB on /);
    expect(stderr).toMatch(/step 20: evalWin/);
    const metrics = records(at("run/metrics.jsonl"));
    const steps = metrics.filter((m) => "loss" in m);
    expect(steps).toHaveLength(60);
    expect(metrics.filter((m) => "evalWin" in m).map((m) => m["step"])).toEqual([20, 40, 60]);
    expect(steps[0]!["loss"]).toBeCloseTo(Math.LN2, 4);
    expect(steps[0]!["chosenLogRatio"]).toBeCloseTo(0, 3);
    const late = steps.slice(-10).reduce((sum, m) => sum + m["accuracy"]! / 10, 0);
    expect(late).toBeGreaterThan(0.7);
    const result = JSON.parse(stdout) as {
      steps: number;
      policy: Record<string, number>;
      reference: Record<string, number>;
    };
    expect(result.steps).toBe(60);
    expect(result.policy["reward"]!).toBeGreaterThan(1.2 * result.reference["reward"]!);
    expect(result.policy["kl"]).toBeGreaterThan(0);
    expect(readFileSync(at("run/model/README.md"), "utf8")).toMatch(
      /^# model-dpo$[^]*\| dpo \|[^]*--method dpo/m,
    );
    expect(JSON.parse(readFileSync(at("run/evaluation.json"), "utf8"))).toMatchObject({ n: 4 });
    expect(readFileSync(join(task.policy, "model.safetensors")).equals(before)).toBe(true);
  });

  for (const settings of [
    { method: "dpo", labelSmoothing: 0.1, warmup: 3, lrSchedule: "constant" },
    { method: "ipo", beta: 0.5 },
    { method: "kto", undesirable: 1.2 },
    { method: "bonbon", n: 4, alpha: 0.02 },
    { method: "bon-sft", n: 4, microBatch: 3, minibatch: 6 },
  ] as const) {
    it(`works with ${JSON.stringify(settings)}`, async () => {
      const out = at(`with-${Object.values(settings).join("-")}`);
      const { code, stderr } = await align({ out, evalCache: task.test, ...settings });
      expect(code, stderr).toBe(0);
      expect(existsSync(join(out, "model/model.safetensors"))).toBe(true);
    });
  }

  it("gives the same whatever the micro-batch", async () => {
    for (const microBatch of [2, 8]) await align({ out: at(`micro-${microBatch}`), microBatch, passes: 1 });
    const losses = (name: string): number[] => records(at(`${name}/metrics.jsonl`)).map((m) => m["loss"]!);
    losses("micro-2").forEach((loss, i) => expect(loss).toBeCloseTo(losses("micro-8")[i]!, 4));
  });

  it("computes the reference's log-probabilities where the cache has none", async () => {
    const bare = readFileSync(task.train, "utf8").replace(/"logprobs":\[[^\]]*\],/g, "");
    expect(bare).not.toContain("logprobs");
    writeFileSync(at("bare.jsonl"), bare);
    await align({ out: at("stored"), passes: 1 });
    const { code, stderr } = await align({ out: at("scored"), passes: 1, cache: at("bare.jsonl") });
    expect(code, stderr).toBe(0);
    const [stored, scored] = ["stored", "scored"].map((name) => records(at(`${name}/metrics.jsonl`)));
    stored!.forEach((m, i) => expect(m["loss"]).toBeCloseTo(scored![i]!["loss"]!, 4));
  });
});

describe("resuming", () => {
  for (const method of ["dpo", "bonbon"]) {
    it(`continues ${method} bit for bit after Ctrl-C`, async () => {
      const [straight, stopped] = [at(`straight-${method}`), at(`stopped-${method}`)];
      const settings = { method, alpha: "auto", evalCache: task.test, evalEvery: 5, saveEvery: 4 };
      expect((await align({ ...settings, out: straight })).code).toBe(0);
      const { code, stderr } = await align({ ...settings, out: stopped }, (text, stop) => {
        if (text.includes("step 5: evalWin")) stop();
      });
      expect(code).toBe(130);
      expect(stderr).toMatch(
        /stopped after step 6 of 24; continue with: vbon align --resume --out .*stopped/,
      );
      expect(existsSync(join(stopped, "model"))).toBe(false);
      const resumed = await vbon(device, ["align", "--resume", "--out", stopped]);
      expect(resumed.code, resumed.stderr).toBe(0);
      expect(computed(stopped)).toEqual(computed(straight));
    });
  }

  it("of a finished run evaluates and saves again", async () => {
    rmSync(at("straight-dpo/model"), { recursive: true });
    const { code, stderr } = await vbon(device, [
      "align",
      ...flags({ resume: true, out: at("straight-dpo"), evalCache: task.test }),
    ]);
    expect(code, stderr).toBe(0);
    expect(readdirSync(at("straight-dpo/model"))).toContain("model.safetensors");
    expect(existsSync(at("straight-dpo/evaluation.json"))).toBe(true);
  });
});

describe("wrong input", () => {
  const scoresOnly = (): string => {
    const bare = readFileSync(task.train, "utf8").replace(/,"responseIds":\[\[.*\]\]/g, "");
    writeFileSync(at("scores.jsonl"), bare);
    return at("scores.jsonl");
  };
  const constant = (): string => {
    const flat = readFileSync(task.train, "utf8").replace(
      /"rewards":\[[^\]]*\]/g,
      `"rewards":[${"1,".repeat(7)}1]`,
    );
    writeFileSync(at("constant.jsonl"), flat);
    return at("constant.jsonl");
  };
  const cases: [string, () => Settings, RegExp][] = [
    ["no n", () => ({ n: undefined }), /dpo compares n cached responses at once; expected --n, .* got none/],
    ["n not whole", () => ({ n: 2.5 }), /whole number of at least 2, got 2\.5/],
    ["n = 1", () => ({ n: 1 }), /whole number of at least 2, got 1/],
    ["n above M", () => ({ n: 9 }), /has 8 cached responses; expected at least n = 9/],
    ["beta 0", () => ({ beta: 0 }), /--beta 0; expected a number above 0/],
    [
      "half a pair",
      () => ({ microBatch: 1 }),
      /8 responses a step in parts of 1; expected parts of whole pairs/,
    ],
    ["parts that do not fit", () => ({ microBatch: 6 }), /8 responses a step in parts of 6/],
    ["more than the cache has", () => ({ minibatch: 64 }), /24 items do not fill a batch of 32/],
    [
      "a cache of scores alone",
      () => ({ cache: scoresOnly() }),
      /keeps scores but no responses to learn from/,
    ],
    ["equal scores", () => ({ cache: constant() }), /in every group of 2 responses all scores are equal/],
    ["an alpha above 1", () => ({ method: "bonbon", alpha: 1.5 }), /expected auto or a number from 0 to 1/],
    ["smoothing of a half", () => ({ labelSmoothing: 0.5 }), /label-smoothing/],
  ];

  for (const [what, settings, message] of cases) {
    it(`is one message and exit code 2: ${what}`, async () => {
      const { code, stdout, stderr } = await align({ out: at("wrong"), ...settings() });
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(message);
      expect(stderr).not.toContain("    at ");
    });
  }
});
