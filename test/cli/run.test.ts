import { describe, expect, it } from "vitest";
import { z } from "zod";
import { type Surroundings } from "../../src/cli/run.ts";
import { type AnyVerb, defineVerb, type Io } from "../../src/cli/verb.ts";
import { verbs } from "../../src/cli/verbs.ts";
import { ConfigError } from "../../src/errors.ts";
import { cli } from "../support/run-cli.ts";

const verb = (run: (io: Io) => Promise<void>): Partial<Surroundings> => {
  const made: AnyVerb = defineVerb({
    name: "do",
    summary: "does",
    schema: z.strictObject({}),
    examples: [],
    run: (_c, io) => run(io),
  });
  return { verbs: { do: async () => made } };
};

describe("vbon", () => {
  it("prints results on stdout and notes on stderr", async () => {
    const io = verb(async (to) => {
      to.note("working");
      to.result({ answer: 42 }, "the answer is 42");
    });
    expect(await cli(["do"], io)).toEqual({ code: 0, stdout: "the answer is 42\n", stderr: "working\n" });
    expect(await cli(["do", "--json"], io)).toEqual({
      code: 0,
      stdout: '{"answer":42}\n',
      stderr: "working\n",
    });
  });

  it("tells a user's error in one message, exit code 2", async () => {
    const ran = await cli(
      ["do"],
      verb(() => Promise.reject(new ConfigError("x is 3; expected 2"))),
    );
    expect(ran).toEqual({ code: 2, stdout: "", stderr: "x is 3; expected 2\n" });
  });

  it("shows the stack of a bug, exit code 1", async () => {
    const { code, stderr: err } = await cli(
      ["do"],
      verb(() => Promise.reject(new TypeError("boom"))),
    );
    expect(code).toBe(1);
    expect(err).toMatch(/this is a bug in vbon[^]*TypeError: boom[^]*at /);
  });

  it("exits with 130 after Ctrl-C", async () => {
    const controller = new AbortController();
    const { code } = await cli(["do"], {
      ...verb(async () => controller.abort()),
      signal: controller.signal,
    });
    expect(code).toBe(130);
  });

  it("suggests the command that was meant", async () => {
    expect(await cli(["scroe"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('unknown command "scroe"; did you mean "score"?') as string,
    });
  });
});

describe("help", () => {
  it.each(["doctor", "sft", "reward", "score"])("of %s", async (name) => {
    const { code, stdout: out } = await cli([name, "--help"]);
    expect(code).toBe(0);
    expect(out).toMatchSnapshot();
  });

  it("of vbon lists every command", async () => {
    const { stdout: out } = await cli(["--help"], {
      verbs: { doctor: verbs["doctor"]!, sft: verbs["sft"]! },
    });
    expect(out).toMatchSnapshot();
  });

  it("begins every command's summary in lower case and names every flag's meaning", async () => {
    for (const load of Object.values(verbs)) {
      const { name, summary, schema } = await load();
      expect(summary, name).toMatch(/^[^A-Z].*[^.]$/);
      const silent = Object.entries(schema.shape).filter(([, field]) => !field.meta()?.description);
      expect(
        silent.map(([key]) => key),
        name,
      ).toEqual([]);
    }
  });
});

describe("doctor", () => {
  it("prints adapter, type, tier and limits", async () => {
    const { code, stdout: out } = await cli(["doctor", "--json"]);
    expect(code).toBe(0);
    const facts = JSON.parse(out) as Record<string, unknown>;
    expect(Object.keys(facts)).toEqual(
      expect.arrayContaining([
        "vbon",
        "runtime",
        "webgpu",
        "adapter",
        "driver",
        "type",
        "tiers",
        "subgroupSize",
        "features",
        "limits",
      ]),
    );
    expect(facts["webgpu"]).toBe("0.6.2");
  });

  it("tells of each tier whether it passed its test, failed it or is absent, and why", async () => {
    const { stdout: out } = await cli(["doctor", "--json"]);
    const { tiers } = JSON.parse(out) as { tiers: Record<string, string> };
    expect(Object.keys(tiers)).toEqual(["tile", "subgroups", "f16", "matrix"]);
    for (const told of Object.values(tiers)) expect(told).toMatch(/^(?:passed|failed|unchecked|absent): .+/);
    expect(tiers["subgroups"]).toMatch(/^passed: \d+ lanes/);
    expect(tiers["f16"]).toMatch(/^passed/);
    expect(tiers["matrix"]).toBe("absent: no feature chromium-experimental-subgroup-matrix");
  });
});
