import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { readOptions } from "../../src/cli/arguments/options.ts";
import { type AnyVerb, defineVerb } from "../../src/cli/verb.ts";
import { jsonl, scratch } from "../support/training.ts";

const verb: AnyVerb = defineVerb({
  name: "bake",
  summary: "bake",
  schema: z.strictObject({
    out: z.string().meta({ description: "where it goes" }),
    lr: z.number().gt(0).default(0.1).meta({ description: "rate" }),
    gradClip: z.number().min(0).default(1).meta({ description: "clip" }),
    kind: z.enum(["rye", "wheat"]).default("rye").meta({ description: "flour" }),
    warm: z.boolean().default(true).meta({ description: "warm or not" }),
    sizes: z.array(z.string()).default([]).meta({ description: "some" }),
    resume: z.boolean().default(false).meta({ description: "go on" }),
    every: z.number().default(5).meta({ description: "often" }),
    loaves: z.number().int().positive().default(1).meta({ description: "many" }),
    share: z.number().min(0).max(1).default(1).meta({ description: "of the dough" }),
  }),
  changeableOnResume: ["every"],
  examples: [],
  run: async () => undefined,
});

const parse = async (line: string): Promise<Readonly<Record<string, unknown>>> => {
  const request = await readOptions(verb, line.split(" ").filter(Boolean));
  if (request.help) throw new Error("help");
  return request.config;
};

describe("options", () => {
  it("takes defaults, then the config file, then flags", async () => {
    const file = jsonl([{ lr: 0.5, gradClip: 2 }], "c.json");
    const config = await parse(
      `--out here --config ${file} --grad-clip=3 --no-warm --sizes a,b --kind wheat`,
    );
    expect(config).toEqual({
      out: "here",
      lr: 0.5,
      gradClip: 3,
      kind: "wheat",
      warm: false,
      sizes: ["a", "b"],
      resume: false,
      every: 5,
      loaves: 1,
      share: 1,
    });
  });

  it.each([
    ["--out x --gradclip 3", "vbon bake: unknown flag --gradclip; did you mean --grad-clip?"],
    ["--out x --zzzzz", "vbon bake: unknown flag --zzzzz; `vbon bake --help` lists the flags"],
    ["--out x extra", 'vbon bake: unexpected argument "extra"; expected flags only (`vbon bake --help`)'],
    ["--lr 1", "vbon bake: --out TEXT is required: where it goes"],
    ["--out x --lr fast", 'vbon bake: --lr: expected a number, got "fast" (rate)'],
    ["--out x --lr -1", "vbon bake: --lr: expected a number above 0; got -1 (rate)"],
    ["--out x --lr", "vbon bake: --lr needs a value"],
    ["--out --lr 1", "vbon bake: --out needs a value"],
    ["--out x --loaves 1.5", "vbon bake: --loaves: expected a whole number of at least 1; got 1.5 (many)"],
    ["--out x --loaves 0", "vbon bake: --loaves: expected a whole number of at least 1; got 0 (many)"],
    [
      "--out x --loaves 1e300",
      "vbon bake: --loaves: expected a whole number of at least 1; got 1e+300 (many)",
    ],
    [
      "--out x --share 2",
      "vbon bake: --share: expected a number of at least 0 and at most 1; got 2 (of the dough)",
    ],
    ["--out x --kind corn", 'vbon bake: --kind: expected one of "rye"|"wheat"; got "corn" (flour)'],
    ["--out x --config /nowhere.json", "/nowhere.json: no such file; check the path"],
  ])("refuses %s", async (line, message) => {
    await expect(parse(line)).rejects.toThrow(message);
  });

  it("refuses an unknown setting in a config file", async () => {
    const file = jsonl([{ gradclip: 2 }], "c.json");
    await expect(parse(`--out x --config ${file}`)).rejects.toThrow(
      'unknown setting "gradclip"; did you mean "gradClip"?',
    );
  });

  it("resumes with the run's own settings and refuses others", async () => {
    const out = join(scratch(), "run");
    await expect(parse(`--resume --out ${out}`)).rejects.toThrow("there is no run in");
    await expect(parse("--resume")).rejects.toThrow("--resume needs --out DIR");
    mkdirSync(out);
    writeFileSync(join(out, "config.json"), JSON.stringify({ out: "old", lr: 0.7, resume: false }));
    expect(await parse(`--resume --out ${out} --every 9`)).toMatchObject({
      out,
      lr: 0.7,
      resume: true,
      every: 9,
    });
    expect(await parse(`--resume --out ${out} --lr 0.7`)).toMatchObject({ lr: 0.7 });
    await expect(parse(`--resume --out ${out} --lr 0.8`)).rejects.toThrow(
      "has lr 0.7, the command line says 0.8",
    );
  });
});
