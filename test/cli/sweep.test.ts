/** `vbon sweep` on a random model: every point there once, whatever happens in between; refusals before any work. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { preset, presetNames } from "../../src/cli/sweep/presets.ts";
import { type SweepFile, pointsOf } from "../../src/cli/sweep/file.ts";
import type { SweepResults } from "../../src/report/types.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { openAlignTask, sampling } from "../support/align-task.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";

const { device, task, at } = await openAlignTask();

const { cache: _, n: __, ...shared } = task.run!;
const { policy, reward } = task;
const prompts = join(task.folder, "prompts-10.jsonl");
const cacheOf = (more: object): object => ({ policy, reward, prompts, ...sampling, ...more });
const file = {
  title: "A sweep",
  caches: {
    train: cacheOf({ count: 6 }),
    test: cacheOf({ skip: 6 }),
    cold: cacheOf({ skip: 6, temperature: 0.5 }),
  },
  align: { ...shared, cache: "train", evalCache: "test", episodes: 32, passes: 1 },
  runs: [
    { method: "vbon", n: [2, 4] },
    { method: "dpo", n: 2, beta: [1] },
  ],
  seeds: [0, 1],
  evaluations: { cold: { cache: "cold", samples: 2 } },
};

async function sweep(
  out: string,
  settings: object = file,
  more: Parameters<typeof flags>[0] = {},
  onStderr?: Parameters<typeof vbon>[2],
): Promise<Outcome> {
  const path = at(`${out}.json`);
  writeFileSync(path, JSON.stringify(settings));
  return vbon(device, ["sweep", path, ...flags({ out: at(out), ...more })], onStderr);
}
const points = (out: string): SweepResults =>
  JSON.parse(readFileSync(at(`${out}/points.json`), "utf8")) as SweepResults;
const timeless = (out: string): object[] => points(out).rows.map((row) => ({ ...row, seconds: 0 }));

/** All values of a run's model. */
async function weights(run: string): Promise<number[]> {
  const { tensors, read } = await openSafetensors(at(`${run}/model/model.safetensors`));
  const all: number[] = [];
  for (const name of tensors.keys()) all.push(...(await read(name)));
  return all;
}

const IDS = [
  "vbon-n2-seed0",
  "vbon-n4-seed0",
  "dpo-beta1-seed0",
  "vbon-n2-seed1",
  "vbon-n4-seed1",
  "dpo-beta1-seed1",
];

describe("a sweep", () => {
  it("runs every point, evaluates each twice, and writes them as JSON and CSV", async () => {
    const { code, stdout, stderr } = await sweep("whole");
    expect(code, stderr).toBe(0);
    for (const id of IDS) expect(stdout).toContain(id);
    const { rows, baselines, failed, task: about } = points("whole");
    expect(rows.map(({ id, evaluation }) => `${id} ${evaluation}`)).toEqual(
      IDS.flatMap((id) => [`${id} held-out`, `${id} cold`]),
    );
    expect(rows[0]).toMatchObject({ name: "vbon", setting: "N = 2", seed: 0, n: 2, temperature: 1 });
    expect(rows[1]).toMatchObject({ evaluation: "cold", temperature: 0.5 });
    expect(rows.every(({ kl, win }) => kl >= 0 && win > 0 && win < 1)).toBe(true);
    expect(Object.keys(baselines)).toEqual(["held-out", "cold"]);
    expect(failed).toEqual({});
    expect(about).toMatchObject({ prompts: 4, M: 8 });
    const csv = readFileSync(at("whole/points.csv"), "utf8").trim().split("\r\n");
    expect(csv).toHaveLength(1 + rows.length);
    expect(csv[1]).toMatch(/^vbon-n2-seed0,held-out,0,2,,,1,vbon,N = 2,/);
    const cost = JSON.parse(readFileSync(at("whole/caches/train.cost.json"), "utf8")) as {
      secondsPerSample: number;
    };
    expect(cost).toMatchObject({ prompts: 6 });
    expect(cost.secondsPerSample).toBeGreaterThan(0);
  });

  it("does nothing the second time, and keeps no GPU memory", async () => {
    const before = points("whole");
    const allocated = device.bytesAllocated;
    const { code, stderr } = await sweep("whole");
    expect(code, stderr).toBe(0);
    expect(points("whole").rows).toEqual(before.rows);
    expect((await sweep("another", { ...file, seeds: [0] })).code).toBe(0);
    expect(device.bytesAllocated).toBe(allocated);
  });

  it("gives the same numbers when it is stopped in a run and goes on, and side by side", async () => {
    let lines = 0;
    const stopped = await sweep("parts", file, { parallel: 2 }, (text, stop) => {
      if (text.includes("runs") && ++lines === 2) stop();
    });
    expect([0, 130]).toContain(stopped.code);
    expect((await sweep("parts", file, { parallel: 3 })).code).toBe(0);
    expect(timeless("parts")).toEqual(timeless("whole"));
  });

  it("averages the seeds of each knob where it is asked to, evaluates that too, and only once", async () => {
    const soup = { ...file, soup: true };
    expect((await sweep("whole", soup)).code).toBe(0);
    const { rows } = points("whole");
    const soups = rows.filter(({ name }) => name.endsWith(" soup"));
    expect(soups.map(({ id, name, evaluation }) => [id, name, evaluation])).toEqual(
      ["vbon-n2", "vbon-n4", "dpo-beta1"].flatMap((id) =>
        ["held-out", "cold"].map((evaluation) => [`${id}-soup0+1`, `${id.split("-")[0]} soup`, evaluation]),
      ),
    );
    expect(soups[0]).toMatchObject({ setting: "N = 2", n: 2, seed: 0 });
    const model = at("whole/runs/vbon-n2-soup0+1/model/model.safetensors");
    const [mean, a, b] = await Promise.all(
      ["soup0+1", "seed0", "seed1"].map((of) => weights(`whole/runs/vbon-n2-${of}`)),
    );
    expect(a).not.toEqual(b);
    mean!.forEach((v, i) => expect(v).toBeCloseTo((a![i]! + b![i]!) / 2, 6));
    const made = statSync(model).mtimeMs;
    expect((await sweep("whole", soup)).code).toBe(0);
    expect(statSync(model).mtimeMs).toBe(made);
    // Killed while the average was written, before it was judged.
    for (const gone of ["model/README.md", "evaluation.json"])
      rmSync(at(`whole/runs/vbon-n2-soup0+1/${gone}`));
    expect((await sweep("whole", soup)).code).toBe(0);
    expect(points("whole").rows).toEqual(rows);
  });

  it("goes on past a run that fails, says why, and tries it again", async () => {
    const runs = [
      { method: "dpo", n: [2, 9] },
      { method: "vbon", n: [2] },
    ];
    const { code, stderr } = await sweep("failing", { ...file, seeds: [0], evaluations: {}, runs });
    expect(code).toBe(1);
    expect(stderr).toMatch(/dpo-n9-seed0 failed: .*expected at least n = 9/);
    const { rows, failed } = points("failing");
    expect(rows.map(({ id }) => id)).toEqual(["dpo-n2-seed0", "vbon-n2-seed0"]);
    expect(failed["dpo-n9-seed0"]).toMatch(/n = 9/);
  });

  it("refuses what does not fit before it computes anything", async () => {
    const refused = async (settings: object): Promise<string> => {
      const { code, stderr } = await sweep("refused", settings);
      expect(code).toBe(2);
      expect(existsSync(at("refused/caches"))).toBe(false);
      return stderr;
    };
    expect(await refused({ ...file, runs: [{ metod: "vbon" }] })).toMatch(/vbon-seed0.*--metod.*--method/);
    expect(await refused({ ...file, runs: [{ method: "vbon", n: [2, 2] }] })).toMatch(/two runs are vbon-n2/);
    expect(await refused({ ...file, runs: [] })).toMatch(/runs/);
    expect(await refused({ ...file, align: { ...shared, cache: "train" } })).toMatch(/evalCache/);
    const other = await sweep("whole", { ...file, align: { ...file.align, gradClip: 2 } });
    expect([other.code, other.stderr]).toEqual([2, expect.stringMatching(/was run with gradClip 1, .* 2/)]);
    const adapted = await sweep("whole", { ...file, align: { ...file.align, lora: "q_proj" } });
    expect([adapted.code, adapted.stderr]).toEqual([
      2,
      expect.stringMatching(/with lora undefined, .* "q_proj"/),
    ]);
    const unknown = await vbon(device, ["sweep", "fig2-smok"]);
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringMatching(/did you mean fig2-smoke/)]);
  });
});

describe("a folder of an older version", () => {
  it("whose config lacks a flag that is new is that of the flag's default, and of no other", async () => {
    const path = at("whole/runs/vbon-n2-seed0/config.json");
    const config = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    const { gradClip, ...older } = config;
    expect(gradClip).toBe(1);
    writeFileSync(path, JSON.stringify(older));
    expect((await sweep("whole", file)).code).toBe(0);
    writeFileSync(path, JSON.stringify({ ...older, lora: "q_proj" }));
    const { code, stderr } = await sweep("whole", file);
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/with lora "q_proj", the sweep says undefined/),
    ]);
    writeFileSync(path, JSON.stringify(config));
  });
});

describe("the presets", () => {
  it("and the examples are sweeps whose every run is valid", async () => {
    const examples = readdirSync("examples/sweeps").map((file) => join("examples/sweeps", file));
    for (const name of [...presetNames, ...examples]) {
      const out = at(basename(name));
      const { code, stdout, stderr } = await vbon(undefined, ["sweep", name, "--dry-run", "--out", out]);
      expect(code, stderr).toBe(0);
      expect(stdout.split("\n").length).toBeGreaterThan(3);
    }
  });

  it("have the paper's grids", () => {
    const runs = pointsOf(preset("all-paper") as SweepFile).filter(({ seed }) => seed === 0);
    const count = (method: string): number => runs.filter(({ series }) => series === method).length;
    expect(["vbon", "ppo", "dpo", "bonbon", "vbon-l", "bon-sft"].map(count)).toEqual([
      11, 16, 11, 10, 16, 16,
    ]);
  });
});
