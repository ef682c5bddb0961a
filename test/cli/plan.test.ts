/** `vbon plan` against what `vbon align` takes, on the shipped checkpoint, on stories260K, and on a tiny model. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Device } from "../../src/gpu/device.ts";
import { openDevice } from "../../src/gpu/device.ts";
import { flags, vbon } from "../support/run-cli.ts";
import { letterReward, promptFile, tinyLm } from "../support/tiny-lm.ts";
import { scratch } from "../support/training.ts";

type Settings = Parameters<typeof flags>[0];

const root = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const SHIPPED = root("checkpoints/movie-lm");
const STORIES = [root("shared/data/stories260K"), "/work/shared/data/stories260K"].filter((f) =>
  existsSync(f),
);
const MODELS = [SHIPPED, ...STORIES.slice(0, 1)];

interface Planned {
  readonly parts: Readonly<Record<string, number>>;
  readonly total: number;
  readonly fits: boolean;
  readonly largestMicroBatch?: number;
  readonly refused?: string;
  readonly help: readonly { readonly flags: string; readonly total: number; readonly fits: boolean }[];
}

/** What the plan says; nothing is allocated for it. */
async function planned(device: Device, settings: Settings, expected = 0): Promise<Planned> {
  const before = { bytes: device.bytesAllocated, ...device.counters };
  const { code, stdout, stderr } = await vbon(device, ["plan", ...flags({ json: true, ...settings })]);
  expect(code, stderr).toBe(expected);
  expect({ bytes: device.bytesAllocated, ...device.counters }).toEqual(before);
  return JSON.parse(stdout) as Planned;
}

/** The most that is alive while `vbon align` runs, on a device of its own. */
async function measured(settings: Settings): Promise<number> {
  const device = await openDevice();
  const { code, stderr } = await vbon(device, ["align", ...flags(settings)]);
  expect(code, stderr).toBe(0);
  await device.close();
  return device.memory.peak;
}

async function makeCache(device: Device, settings: Settings): Promise<void> {
  const { code, stderr } = await vbon(device, ["cache", ...flags({ samples: 4, rows: 16, ...settings })]);
  expect(code, stderr).toBe(0);
}

const expectNear = (planned: number, taken: number): void => {
  expect(planned / taken, `${planned} planned, ${taken} taken`).toBeGreaterThan(0.9);
  expect(planned / taken, `${planned} planned, ${taken} taken`).toBeLessThan(1.1);
};

describe.each(MODELS)("%s", (policy) => {
  const folder = scratch();
  const reward = letterReward(folder);
  const [prompts, cache] = [promptFile(folder, 8), join(folder, "cache.jsonl")];
  const run = { policy, reward, episodes: 8, rollout: 8, minibatch: 8, rows: 8, maxNewTokens: 16 };

  const adapted = { microBatch: 4, value: "shared", averageLast: 0, lora: "all-linear" };
  it.each(policy === SHIPPED ? [{ microBatch: 8 }, adapted] : [adapted])(
    "is right within a tenth: %j",
    async (changes) => {
      const device = await openDevice();
      if (!existsSync(cache))
        await makeCache(device, { policy, reward, prompts, maxNewTokens: 16, out: cache });
      const { total } = await planned(device, { ...run, ...changes, prompts: 8, promptTokens: 4 });
      await device.close();
      expectNear(total, await measured({ ...run, ...changes, cache, n: 2, out: join(scratch(), "run") }));
    },
  );
});

describe("what it says", async () => {
  const device = await openDevice();
  const policy = scratch();
  await tinyLm(device, policy);
  const reward = letterReward(policy);
  const sizes = {
    policy,
    promptTokens: 4,
    maxNewTokens: 8,
    rows: 8,
    rollout: 8,
    minibatch: 8,
    microBatch: 4,
  };

  it("adds up, and adapters have fewer weights and moments", async () => {
    const full = await planned(device, sizes);
    const adapted = await planned(device, { ...sizes, lora: "q_proj", value: "shared" });
    for (const { parts, total } of [full, adapted])
      expect(Object.values(parts).reduce((a, b) => a + b, 0)).toBe(total);
    for (const what of ["gradients", "moments of AdamW"])
      expect(adapted.parts[what]!, what).toBeLessThan(full.parts[what]! / 2);
  });

  it.each([{ method: "dpo" }, { method: "j-bond" }, { method: "online-dpo" }])(
    "is right within a tenth, and reads lengths from a cache: %j",
    async ({ method }) => {
      const cache = join(scratch(), "cache.jsonl");
      const prompts = promptFile(scratch(), 8);
      await makeCache(device, { policy, reward, prompts, maxNewTokens: 8, out: cache });
      const run = { method, policy, reward, cache, evalCache: cache, evalSamples: 2, rows: 8, n: 2 };
      const short = { ...run, episodes: 8, rollout: 8, minibatch: 8, microBatch: 4, passes: 1 };
      const out = join(scratch(), "run");
      expectNear((await planned(device, short)).total, await measured({ ...short, out }));
    },
  );

  it("takes the same for any n, which a cache need not hold", async () => {
    expect((await planned(device, { ...sizes, n: 1e9 })).total).toBe((await planned(device, sizes)).total);
  });

  it("says the largest micro-batch that fits", async () => {
    const { largestMicroBatch, help, total } = await planned(device, sizes);
    expect([largestMicroBatch, help]).toEqual([8, []]);
    const memory = (total + 4096) / 2 ** 30;
    expect((await planned(device, { ...sizes, memory })).largestMicroBatch).toBe(4);
  });

  it("says what would help where it does not fit, with exit code 1", async () => {
    const { total } = await planned(device, sizes);
    const { fits, help } = await planned(device, { ...sizes, memory: (total - 4096) / 2 ** 30 }, 1);
    expect(fits).toBe(false);
    expect(help.map((change) => change.flags).join("\n")).not.toContain("undefined");
    const found = help.find((change) => change.flags === "--micro-batch 2")!;
    expect(found).toMatchObject({ fits: true });
    expect((await planned(device, { ...sizes, microBatch: 2 })).total).toBe(found.total);
  });

  it("says so where nothing would be enough", async () => {
    const small = await openDevice({ memoryLimit: 100_000 });
    const { code, stdout } = await vbon(small, ["plan", ...flags(sizes)]);
    expect([code, stdout]).toEqual([
      1,
      expect.stringMatching(
        /does not fit: .*limit is 97\.66 KiB\nwhat would help: (.*\n)*.*still too much\n$/,
      ),
    ]);
    await small.close();
  });

  it("says what no amount of memory helps: a binding that is too large", async () => {
    const small = await openDevice({ bindingBytes: 8192 });
    const { refused, fits } = await planned(small, { ...sizes, rows: 512, rollout: 512, minibatch: 512 }, 1);
    expect([fits, refused]).toEqual([false, expect.stringMatching(/one binding holds at most 8\.00 KiB/)]);
    await small.close();
  });

  it("says so where not even the weights fit one buffer", async () => {
    const limits: Record<string, unknown> = {};
    for (const name in device.limits) limits[name] = device.limits[name as keyof GPUSupportedLimits];
    const gpu = { features: device.gpu.features, limits: { ...limits, maxBufferSize: 4096 } };
    const small = Object.create(device, { gpu: { value: gpu } }) as Device;
    const { code, stdout } = await vbon(small, ["plan", ...flags(sizes)]);
    expect([code, stdout]).toEqual([
      1,
      expect.stringMatching(
        /does not fit this adapter: device: frozen parameters needs a buffer of .*allows 4\.00 KiB/,
      ),
    ]);
  });

  it("reads the settings of a run", async () => {
    const config = join(scratch(), "config.json");
    writeFileSync(
      config,
      JSON.stringify({ ...sizes, promptTokens: undefined, resume: false, n: 4, out: "x" }),
    );
    const { total } = await planned(device, { config, promptTokens: 4 });
    expect(total).toBe((await planned(device, sizes)).total);
  });

  it.each([
    [{ promptTokens: 60 }, /--prompt-tokens 60 and --max-new-tokens 8 exceed the model's context of 64/],
    [{ promptTokens: 0 }, /--prompt-tokens: expected a whole number of at least 1/],
    [{ memory: 0 }, /--memory: expected a number above 0/],
    [{ lora: "c_attn" }, /names no linear map/],
    [{ method: "dpo", n: 1.5 }, /a whole number of at least 2, got 1\.5/],
    [{ policy: "no-such-folder" }, /no-such-folder: expected a model folder.*there is nothing/],
    [{ reward: "no-such-reward" }, /--reward no-such-reward: no such folder or file/],
    [{ cache: "no-such-cache.jsonl" }, /no-such-cache\.jsonl/],
    [{ microBach: 4 }, /unknown flag --micro-bach; did you mean "?--micro-batch/],
  ] as readonly (readonly [Settings, RegExp])[])("%j is refused", async (changes, message) => {
    const { code, stderr } = await vbon(device, ["plan", ...flags({ ...sizes, ...changes })]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });
});
