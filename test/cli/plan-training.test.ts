/** `--plan` of `vbon sft` and `vbon reward` against what the runs take; that nothing is written; what would help. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { type Device, openDevice } from "../../src/gpu/device.ts";
import { testDevice } from "../support/device.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";
import { documents, jsonl, scratch } from "../support/training.ts";

type Settings = Parameters<typeof flags>[0];
type Verb = "sft" | "reward";

const SHIPPED = fileURLToPath(new URL("../../checkpoints/movie-lm", import.meta.url));
const device = await testDevice();
afterAll(() => device.close());

interface Planned {
  readonly parts: Readonly<Record<string, number>>;
  readonly total: number;
  readonly fits: boolean;
  readonly help: readonly { readonly flags: string; readonly total: number; readonly fits: boolean }[];
}

const run = (on: Device, verb: Verb, settings: Settings): Promise<Outcome> =>
  vbon(on, [verb, ...flags(settings)]);

async function planned(verb: Verb, settings: Settings, expected = 0): Promise<Planned> {
  const before = { bytes: device.bytesAllocated, ...device.counters };
  const { code, stdout, stderr } = await run(device, verb, { plan: true, json: true, ...settings });
  expect(code, stderr).toBe(expected);
  expect({ bytes: device.bytesAllocated, ...device.counters }).toEqual(before);
  return JSON.parse(stdout) as Planned;
}

/** The most that is alive while the command runs, on a device of its own. */
async function measured(verb: Verb, settings: Settings): Promise<number> {
  const own = await openDevice();
  const { code, stderr } = await run(own, verb, settings);
  expect(code, stderr).toBe(0);
  await own.close();
  return own.memory.peak;
}

const tiny = { layers: 2, dim: 32, heads: 2, vocab: 280, block: 32, batch: 8, steps: 2 };
const labelled = jsonl(
  Array.from({ length: 80 }, (_, i) => ({
    text: i % 2 ? `the cat runs ${i}` : `a tree grows ${i}`,
    label: i % 2,
  })),
);
const runs: readonly (readonly [Verb, Settings])[] = [
  ["sft", { ...tiny, data: documents(60) }],
  ["sft", { data: documents(60), model: SHIPPED, block: 16, batch: 4, steps: 2, lora: "all-linear" }],
  ["sft", { ...tiny, data: documents(60), gradientCheckpointing: true, evalFraction: 0 }],
  ["reward", { ...tiny, data: labelled }],
  ["reward", { data: labelled, model: SHIPPED, batch: 4, steps: 2, trainableLayers: 1 }],
];

describe.each(runs)("vbon %s %j", (verb, settings) => {
  it("is right within a tenth, and writes nothing", async () => {
    const out = join(scratch(), "run");
    const { total, parts, fits, help } = await planned(verb, { ...settings, out });
    expect([existsSync(out), fits, help]).toEqual([false, true, []]);
    expect(Object.values(parts).reduce((a, b) => a + b, 0)).toBe(total);
    const taken = await measured(verb, { ...settings, out });
    expect(total / taken, `${total} planned, ${taken} taken`).toBeGreaterThan(0.9);
    expect(total / taken, `${total} planned, ${taken} taken`).toBeLessThan(1.1);
    const kept = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as object;
    expect(Object.keys(kept)).not.toContain("plan");
  });
});

describe("a run that does not fit", () => {
  const settings = { ...tiny, data: documents(60), out: join(scratch(), "run") };

  it("ends with 1 and is told passes of fewer items, for the same gradient", async () => {
    const { total } = await planned("sft", settings);
    const { fits, help } = await planned("sft", { ...settings, memory: (total - 4096) / 2 ** 30 }, 1);
    expect(fits).toBe(false);
    const found = help.find((change) => change.flags === "--batch 4 --accumulate 2")!;
    expect(found.fits).toBe(true);
    expect((await planned("sft", { ...settings, batch: 4, accumulate: 2 })).total).toBe(found.total);
  });

  it("is told in words", async () => {
    const { code, stdout } = await run(device, "sft", { ...settings, plan: true, memory: 1e-6 });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^vbon sft, \d+ parameters, --batch 8, \d+ sequences of up to 32 tokens, on /);
    expect(stdout).toMatch(/does not fit: .* are needed, the limit is 1\.05 KiB\nwhat would help: /);
  });
});

it("is asked what fits, or not at all", async () => {
  const settings = { ...tiny, data: documents(60), out: join(scratch(), "run"), memory: 8 };
  const { code, stderr } = await run(device, "sft", settings);
  expect([code, stderr]).toEqual([2, expect.stringMatching(/--memory 8 says what --plan is to fit into/)]);
});

it("plans the rest of a run that was stopped", async () => {
  const settings = { ...tiny, data: documents(60), out: join(scratch(), "run") };
  expect((await run(device, "sft", settings)).code).toBe(0);
  const { total } = await planned("sft", { out: settings.out, resume: true });
  expect(total).toBe((await planned("sft", settings)).total);
});
