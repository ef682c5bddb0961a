/** Processes that die in the middle (kill -9): nothing computed is lost, and what comes out is the same bit for bit. */
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCache } from "../../src/align/cache/file.ts";
import { type AlignTask, alignTask, computed, sampling } from "../support/align-task.ts";
import { compileScript, type Ended, type Script } from "../support/child.ts";
import { testDevice } from "../support/device.ts";
import { flags } from "../support/run-cli.ts";

let script: Script;
let task: AlignTask;
beforeAll(async () => {
  script = compileScript("src/cli/main.ts");
  const device = await testDevice();
  task = await alignTask(device);
  await device.close();
});
afterAll(() => {
  script.dispose();
  rmSync(task.folder, { recursive: true });
});

/** Slow where other work takes the cores: two minutes a process, five a test. */
const SLOW = 300_000;
const run = (argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  script.run(argv, env, 120_000);

describe("a killed process", { timeout: SLOW }, () => {
  it("leaves a cache that continues", async () => {
    const { folder, policy, reward, train } = task;
    const out = join(folder, "killed.jsonl");
    const argv = [
      "cache",
      ...flags({ policy, reward, prompts: join(folder, "prompts-10.jsonl"), ...sampling, count: 6, out }),
    ];
    const killed = await run(argv, { KILL_AT: "5" });
    expect(killed, killed.stderr).toMatchObject({ signal: "SIGKILL" });
    expect((await readCache(out)).entries.size).toBe(4);
    const resumed = await run(argv);
    expect(resumed, resumed.stderr).toMatchObject({ code: 0 });
    expect(resumed.stderr).toContain("4 of 6 prompts are there already");
    const undated = (path: string): string => readFileSync(path, "utf8").replace(/"created":"[^"]*"/, "");
    expect(undated(out)).toBe(undated(train));
  });

  it("leaves an alignment that continues bit for bit", async () => {
    const settings = { ...task.run, saveEvery: 1, samplesEvery: 1, averageLast: 0.6 };
    const [whole, broken] = [join(task.folder, "whole"), join(task.folder, "broken")];
    const straight = await run(["align", ...flags({ ...settings, out: whole })]);
    expect(straight, straight.stderr).toMatchObject({ code: 0 });

    const killed = await run(["align", ...flags({ ...settings, out: broken })], { KILL_AT: "4" });
    expect(killed, killed.stderr).toMatchObject({ signal: "SIGKILL" });
    cpSync(join(broken, "checkpoint"), join(broken, "checkpoint.new"), { recursive: true }); // as if it died while saving
    const resumed = await run(["align", "--resume", "--out", broken]);
    expect(resumed, resumed.stderr).toMatchObject({ code: 0 });
    expect(resumed.stderr).not.toMatch(/^ +3 /m);
    expect(resumed.stderr).toMatch(/^ +4 +64 /m);
    expect(computed(broken)).toEqual(computed(whole));
  });
});
