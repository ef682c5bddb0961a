/** `vbon align` and `vbon evaluate` on a random model: what a run leaves behind, resuming, refusals. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { updateKlController } from "../../src/align/kl.ts";
import { openAlignTask, computed } from "../support/align-task.ts";
import { flags, type Outcome, records, vbon } from "../support/run-cli.ts";
import { letterReward, tinyLm } from "../support/tiny-lm.ts";

const { device, task, at } = await openAlignTask();
afterEach(() => {
  delete process.env["NAN_AT"];
});

type Settings = Parameters<typeof flags>[0];
const align = (
  settings: Settings,
  ...rest: Parameters<typeof vbon> extends [unknown, unknown, ...infer R] ? R : never
): Promise<Outcome> => vbon(device, ["align", ...flags({ ...task.run, ...settings })], ...rest);
const evaluate = (settings: Settings): Promise<Outcome> => {
  const { policy, reward, test } = task;
  return vbon(device, [
    "evaluate",
    ...flags({ policy, reference: policy, reward, cache: test, samples: 2, n: 3, ...settings }),
  ]);
};

describe("a run", () => {
  it("learns even from a single iteration, of which all the average is made", async () => {
    const { code, stderr } = await align({ episodes: 16, out: at("single") });
    expect(code, stderr).toBe(0);
    const [before, after] = [task.policy, at("single/model")].map((folder) =>
      readFileSync(join(folder, "model.safetensors")),
    );
    expect(after!.equals(before!)).toBe(false);
  });

  it("shows a row an iteration and leaves model, card, metrics, samples and evaluation", async () => {
    const { code, stdout, stderr } = await align({
      out: at("run"),
      evalCache: task.test,
      evalEvery: 2,
      samplesEvery: 2,
      json: true,
    });
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/4 iterations of 16 responses; \d+ MiB at most on /);
    expect(stderr).toMatch(
      /^step +episodes +reward +rank +KL +k1 +k3 +J +entropy +clipped +tokens\/s +left$/m,
    );
    expect(stderr.match(/^ +\d +\d+ +[\d.]+ .*\d:\d\d$/gm)).toHaveLength(4);
    expect(stderr).toMatch(/step 2, held-out prompts: win/);

    const metrics = records(at("run/metrics.jsonl"));
    expect(metrics.map((m) => m["step"])).toEqual([0, 0, 1, 2, 2, 3, 4, 4]);
    for (const name of [
      "reward",
      "rank",
      "kl",
      "klK1",
      "klK3",
      "J",
      "entropy",
      "clipFrac",
      "lr",
      "tokensPerSecond",
    ]) {
      expect(metrics[2]![name], name).toEqual(expect.any(Number));
    }
    expect(metrics[2]).toMatchObject({ kl: 0, klK1: 0, klK3: 0, episodes: 16 });
    expect(metrics[6]!["kl"]).toBeGreaterThan(0);
    expect(records(at("run/samples.jsonl"))[0]).toMatchObject({
      step: 2,
      prompt: expect.any(String),
      text: expect.any(String),
      score: expect.any(Number),
      rank: expect.any(Number),
    });
    expect(readFileSync(at("run/model/README.md"), "utf8")).toMatch(
      /^# model-vbon$[^]*\| vbon \|[^]*vbon align --policy/m,
    );
    expect(JSON.parse(readFileSync(at("run/model/generation_config.json"), "utf8"))).toMatchObject({
      do_sample: true,
      temperature: 1,
      max_new_tokens: 6,
    });
    expect(JSON.parse(stdout)).toMatchObject(
      JSON.parse(readFileSync(at("run/evaluation.json"), "utf8")) as object,
    );
  });

  it("measures itself as `vbon evaluate` does", async () => {
    const { code, stdout, stderr } = await evaluate({
      policy: at("run/model"),
      json: true,
      out: at("again.json"),
    });
    expect(code, stderr).toBe(0);
    const itself = readFileSync(at("run/evaluation.json"), "utf8");
    expect(readFileSync(at("again.json"), "utf8")).toBe(itself);
    expect(JSON.parse(stdout)).toEqual(JSON.parse(itself));
  });

  it("improves the reward and leaves the reference alone", async () => {
    const before = readFileSync(join(task.policy, "model.safetensors"));
    await align({
      out: at("longer"),
      evalCache: task.test,
      episodes: 320,
      rollout: 32,
      evalSamples: 16,
      n: 8,
    });
    const { policy, reference } = JSON.parse(readFileSync(at("longer/evaluation.json"), "utf8")) as Record<
      string,
      Record<string, never>
    >;
    expect(policy!["reward"]).toBeGreaterThan(1.5 * reference!["reward"]!);
    expect(policy!["J"]).toBeGreaterThan(reference!["J"]!);
    expect(readFileSync(join(task.policy, "model.safetensors")).equals(before)).toBe(true);
  });

  for (const settings of [
    { method: "ppo", n: undefined, beta: 0.1 },
    { method: "vbon-lle", value: "shared" },
    { optimizer: "rloo", group: 4 },
    { optimizer: "grpo", group: 8, method: "ppo", beta: 0.1 },
    { optimizer: "reinforce", value: "shared" },
    { rewardClip: 0.1, whitenRewards: true, adamEps: 1e-5, missingEos: "-1" },
    { method: "bond", jeffreys: 0.3 },
    { method: "j-bond", anchorRate: 0.1, optimizer: "rloo", group: 2 },
    { method: "online-dpo", n: undefined, beta: 0.5, group: 4 },
    { method: "vbon-l", estimator: "pooled", n: 2.5 },
    { ties: "total-order", missingEos: "bottom", smoothing: "mid", compat: "vbon-release" },
  ]) {
    it(`works with ${JSON.stringify(settings)}`, async () => {
      const out = at(`with-${Object.values(settings).join("-")}`);
      const { code, stderr } = await align({ out, episodes: 32, evalCache: task.test, ...settings });
      expect(code, stderr).toBe(0);
      expect(existsSync(join(out, "model/model.safetensors"))).toBe(true);
    });
  }
});

it("takes what others published as a preset, and what flags say instead", async () => {
  const out = at("preset");
  const { policy, reward, train: cache } = task;
  const small = { episodes: 16, rollout: 16, minibatch: 8, microBatch: 8, rows: 16 };
  const { code, stderr } = await vbon(device, [
    "align",
    ...flags({ policy, reward, cache, out, preset: "nplus", beta: 0.2, ...small }),
  ]);
  expect(code, stderr).toBe(0);
  expect(stderr).not.toContain("does not read");
  const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as object;
  expect(config).toMatchObject({
    method: "ppo",
    beta: 0.2,
    ppoEpochs: 4,
    lr: 3e-6,
    adamEps: 1e-5,
    missingEos: "-1",
  });
});

describe("resuming", () => {
  const settings = { out: at("straight"), samplesEvery: 1, averageLast: 0.6, saveEvery: 3 };

  it("continues bit for bit after Ctrl-C", async () => {
    expect((await align(settings)).code).toBe(0);
    const stopped = await align({ ...settings, out: at("stopped") }, (text, stop) => {
      if (/^ +2 /m.test(text)) stop();
    });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain(
      `stopped after iteration 2 of 4; continue with: vbon align --resume --out ${at("stopped")}`,
    );
    expect(existsSync(at("stopped/model"))).toBe(false);
    const resumed = await vbon(device, ["align", "--resume", "--out", at("stopped")]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(computed(at("stopped"))).toEqual(computed(at("straight")));
  });

  it("continues an anchor, too", async () => {
    const anchored = { ...settings, method: "j-bond", out: at("anchored") };
    expect((await align(anchored)).code).toBe(0);
    const stopped = await align({ ...anchored, out: at("dragged") }, (text, stop) => {
      if (/^ +1 /m.test(text)) stop();
    });
    expect(stopped.code).toBe(130);
    const resumed = await vbon(device, ["align", "--resume", "--out", at("dragged")]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(computed(at("dragged"))).toEqual(computed(at("anchored")));
  });

  it("moves the KL coefficient toward a target, and continues where it was", async () => {
    const ruled = { ...settings, method: "ppo", beta: 0.2, klTarget: 0.01, klHorizon: 50, out: at("ruled") };
    const { code, stderr } = await align(ruled);
    expect(code, stderr).toBe(0);
    const rows = records(at("ruled/metrics.jsonl")).filter((row) => "klCoef" in row) as {
      klCoef: number;
      kl: number;
    }[];
    expect(rows[0]!.klCoef).toBe(0.2);
    rows.slice(1).forEach(({ klCoef }, i) => {
      const before = { ...rows[i]!, target: 0.01, horizon: 50 };
      expect(klCoef).toBeCloseTo(updateKlController(before, before.kl, 16).klCoef, 12);
    });
    const stopped = await align({ ...ruled, out: at("unruled") }, (text, stop) => {
      if (/^ +2 /m.test(text)) stop();
    });
    expect(stopped.code).toBe(130);
    expect((await vbon(device, ["align", "--resume", "--out", at("unruled")])).code).toBe(0);
    expect(computed(at("unruled"))).toEqual(computed(at("ruled")));
    const refused = await align({ ...ruled, method: "vbon", out: at("refused") });
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringContaining("vbon stands for one KL weight"),
    ]);
  });

  it("continues after the value function's pre-training", async () => {
    const stopped = await align({ ...settings, out: at("early") }, (text, stop) => {
      if (text.includes("episodes")) stop();
    });
    expect(stopped.stderr).toContain("stopped after iteration 0 of 4");
    const resumed = await vbon(device, ["align", "--resume", "--out", at("early")]);
    expect(resumed.stderr).not.toContain("steps");
    expect(computed(at("early"))).toEqual(computed(at("straight")));
  });

  it("saves what it has when the reward fails, and continues", async () => {
    process.env["NAN_AT"] = "4";
    const reward = letterReward(task.folder, "nan-letter.mjs");
    const source = readFileSync(task.train, "utf8");
    const cache = at("nan-train.jsonl");
    writeFileSync(cache, source.replace("letter.mjs@", "nan-letter.mjs@"));
    const failed = await align({ ...settings, out: at("nan"), reward, cache });
    expect(failed.code).toBe(2);
    expect(failed.stderr).toMatch(
      /saved after iteration 3; once the reward is mended, --resume continues[^]*is NaN; expected a finite number/,
    );
    delete process.env["NAN_AT"];
    const resumed = await vbon(device, ["align", "--resume", "--out", at("nan")]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(computed(at("nan"))).toEqual(computed(at("straight")));
  });

  it("refuses another run, other settings, another cache", async () => {
    expect((await align(settings)).stderr).toMatch(
      /straight: holds a run already; continue it with --resume/,
    );
    expect((await vbon(device, ["align", "--resume", "--out", at("straight"), "--lr", "1"])).stderr).toMatch(
      /has lr 0\.005, the command line says 1/,
    );
    const source = readFileSync(task.train, "utf8");
    writeFileSync(task.train, source.slice(0, source.lastIndexOf("\n", source.length - 2) + 1));
    const { code, stderr } = await vbon(device, ["align", "--resume", "--out", at("straight")]);
    writeFileSync(task.train, source);
    expect(code).toBe(2);
    expect(stderr).toMatch(/the data have changed since this run began/);
  });
});

describe("wrong input", () => {
  const other = at("other");
  const header = (change: object): string => {
    const [first = "", ...rest] = readFileSync(task.train, "utf8").split("\n");
    const path = at(`changed-${Object.keys(change).join("-")}.jsonl`);
    writeFileSync(
      path,
      [JSON.stringify({ ...(JSON.parse(first) as object), ...change }), ...rest].join("\n"),
    );
    return path;
  };
  const released = (): string => {
    const path = at("released.jsonl");
    const rows = records(task.train).slice(1) as unknown as { prompt: string; rewards: number[] }[];
    writeFileSync(
      path,
      rows.map(({ prompt, rewards }) => `${JSON.stringify({ prompt, rewards })}\n`).join(""),
    );
    return path;
  };
  const cases: [string, () => Settings | Promise<Settings>, RegExp][] = [
    ["no n", () => ({ n: undefined }), /expected n or beta, got neither/],
    ["n infinite", () => ({ n: undefined, beta: 0 }), /--beta 0 means n = infinity/],
    [
      "a score without a bottom",
      () => ({ method: "ppo", beta: 1, missingEos: "bottom" }),
      /ppo maximises the score itself, which has no bottom/,
    ],
    [
      "an optimizer that rescales",
      () => ({ method: "bond", optimizer: "ppo" }),
      /bond adds imitation .* expected --optimizer reinforce or rloo/,
    ],
    [
      "pairs of one",
      () => ({ method: "online-dpo", group: 1 }),
      /online-dpo compares the responses of a group, and 1 stand in one/,
    ],
    [
      "groups of one",
      () => ({ optimizer: "rloo" }),
      /rloo with 1 responses a prompt .* change --group or --rollout/,
    ],
    ["missing cache", () => ({ cache: at("none.jsonl") }), /none\.jsonl: no such file/],
    ["malformed cache line", () => ({ cache: torn() }), /torn\.jsonl:3: malformed JSON/],
    [
      "cache of another reward",
      () => ({ reward: "lexicon:vader" }),
      /made with other settings[^]*reward: cache "letter\.mjs@\w+", here "lexicon:vader"/,
    ],
    ["cache of another temperature", () => ({ temperature: 0.7 }), /temperature: cache 1, here 0\.7/],
    [
      "cache of another model",
      () => tinyLm(device, other, 2).then(() => ({ policy: other })),
      /modelHash: cache "\w+", here "\w+"/,
    ],
    [
      "truncated sampling",
      () => ({ cache: header({ topP: 0.9 }) }),
      /sampled with top-k 0 and top-p 0\.9; .* build the cache with --top-k 0 --top-p 1/,
    ],
    [
      "test cache of other lengths",
      () => ({ evalCache: header({ maxNewTokens: 7 }) }),
      /maxNewTokens: cache 7, here 6/,
    ],
    [
      "test cache whose responses end elsewhere",
      () => ({ evalCache: header({ stop: "." }) }),
      /stop: cache "\.", here ""/,
    ],
    [
      "cache without a header",
      () => ({ cache: released() }),
      /has no header .* give --temperature and --max-new-tokens/,
    ],
  ];

  for (const [what, settings, message] of cases) {
    it(`is one message and exit code 2: ${what}`, async () => {
      const { code, stdout, stderr } = await align({ out: at("wrong"), ...(await settings()) });
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(message);
      expect(stderr).not.toContain("    at ");
    });
  }

  it("is not a cache in the released code's format, once its sampling is given", async () => {
    const { code, stderr } = await align({
      out: at("from-released"),
      cache: released(),
      temperature: 1,
      maxNewTokens: 6,
      episodes: 16,
    });
    expect(code, stderr).toBe(0);
    expect(stderr).toContain("keeps no responses, so that the value function is not pre-trained");
  });

  it("warns where N exceeds M, and where prompts to test on are trained on", async () => {
    const { stderr } = await align({ out: at("warned"), n: 50, evalCache: task.train, episodes: 16 });
    expect(stderr).toMatch(/warning: n = 50 exceeds the 8 cached samples/);
    expect(stderr).toMatch(/warning: 6 of the 6 prompts of .* are also trained on/);
  });

  it("is a policy of another vocabulary", async () => {
    await tinyLm(device, at("padded"), 1, 8);
    const { code, stderr } = await evaluate({ policy: at("padded") });
    expect(code).toBe(2);
    expect(stderr).toMatch(/padded has a vocabulary of \d+, .*model of \d+; expected the policy to descend/);
  });

  function torn(): string {
    const lines = readFileSync(task.train, "utf8").split("\n");
    writeFileSync(at("torn.jsonl"), [lines[0], lines[1], lines[2]!.slice(0, 40), ""].join("\n"));
    return at("torn.jsonl");
  }
});
