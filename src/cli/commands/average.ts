/** `vbon average`: the weights of several runs as one model, which costs no more than each of them. */
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { saveModel } from "../../../models/load.ts";
import { exists, kindOf, readText, writeFileAtomic } from "../../data/files.ts";
import { withFolder } from "../../data/lock.ts";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import { frozenCopy, type Parameters } from "../../nn/parameters.ts";
import { createAverage } from "../../optim/average.ts";
import { renderModelCard } from "../../report/markdown.ts";
import { commandLine } from "../arguments/command-line.ts";
import { saveDtype } from "../flags/training.ts";
import { endIds, type Opened, openLanguageModel } from "../open.ts";
import { saveGenerationConfig } from "../train/save.ts";
import { type AnyVerb, defineVerb, type Io, namesField } from "../verb.ts";
import { version } from "../version.ts";

const schema = z.strictObject({
  models: namesField(
    "models that began as one, such as the runs of several seeds: folders, or names on the Hugging Face hub",
  ).meta({
    positional: true,
    hint: "DIR …",
  }),
  weights: z.string().optional().meta({
    description: "the share of each, above 0, in the order of the folders (default: all alike)",
    hint: "W,W,…",
  }),
  out: z.string().meta({ description: "folder of the average", hint: "DIR" }),
  dtype: z.enum(["f32", "f16", "bf16"]).default("f32").meta({ description: "of its weights" }),
});

type Config = z.output<typeof schema>;

/** A model's folder; on stdout its path. */
export const average: AnyVerb = defineVerb({
  name: "average",
  summary: "average the weights of models that began as one: what seeds share stays, their noise goes",
  schema,
  examples: [
    {
      does: "three seeds of one run as one model",
      line: "vbon average runs/seed0/model runs/seed1/model runs/seed2/model --out runs/soup",
    },
    {
      does: "three quarters of the way from the reference to what was aligned",
      line: "vbon average runs/aligned/model runs/stories/model --weights 0.75,0.25 --out runs/nearer",
    },
  ],
  async run(config, io) {
    const shares = sharesOf(config);
    if ((await kindOf(config.out)) === "file")
      throw new ConfigError(`--out ${config.out}: expected a folder, there is a file`);
    await withFolder(config.out, async () => {
      if (await exists(join(config.out, "config.json")))
        throw new ConfigError(`--out ${config.out}: there is a model already; expected a new folder`);
      await write(config, shares, io);
    });
  },
});

async function write(config: Config, shares: readonly number[], io: Io): Promise<void> {
  const device = await io.device();
  const first = await openLanguageModel(device, config.models[0]!);
  const sum = await averageOf(device, config.models, shares, first, io);
  await saveModel(config.out, first.model.with(sum), { dtype: saveDtype(config.dtype) });
  await first.tokenizer.save(config.out);
  await copyGenerationConfig(first, config);
  await writeFileAtomic(join(config.out, "README.md"), await card(config, shares));
  io.result({ out: config.out, models: config.models.length, weights: shares }, config.out);
  sum.dispose();
  first.dispose();
}

/** How text is drawn from the first model; where it does not say, at temperature 1. */
async function copyGenerationConfig({ model, tokenizer }: Opened, { models, out }: Config): Promise<void> {
  const [from, to] = [models[0]!, out].map((folder) => join(folder, "generation_config.json")) as [
    string,
    string,
  ];
  if (await exists(from)) return writeFileAtomic(to, await readText(from));
  return saveGenerationConfig(out, tokenizer, { eosIds: endIds(model, tokenizer), temperature: 1 });
}

/** @returns the share of each model; their sum is 1 */
function sharesOf({ models, weights }: Config): number[] {
  if (models.length < 2)
    throw new ConfigError(`vbon average: expected the folders of at least two models, got ${models.length}`);
  const given = weights?.split(",").map(Number) ?? models.map(() => 1);
  if (given.length !== models.length || !given.every((w) => w > 0 && Number.isFinite(w))) {
    throw new ConfigError(
      `--weights ${weights}: expected ${models.length} numbers above 0, one for each model`,
    );
  }
  const total = given.reduce((a, b) => a + b, 0);
  return given.map((w) => w / total);
}

/**
 * sum_k w_k theta_k, as a running mean in f32: two models at a time (Wortsman et al., "Model soups", 2022, the uniform soup;
 * Ramé et al., "WARP", 2024, of policies).
 */
async function averageOf(
  device: Device,
  folders: readonly string[],
  shares: readonly number[],
  first: Opened,
  io: Io,
): Promise<Parameters> {
  const sum = frozenCopy(first.model.parameters);
  const progress = io.progress({ label: "average", total: folders.length, unit: "models", start: 1 });
  let so = shares[0]!;
  for (let k = 1; k < folders.length; k++) {
    const next = await openLanguageModel(device, folders[k]!);
    checkSame(sum, next.model.parameters, folders[0]!, folders[k]!);
    const mean = await createAverage(next.model.parameters, sum);
    so += shares[k]!;
    mean.add(shares[k]! / so);
    await device.drain();
    mean.dispose();
    next.dispose();
    progress.update(k + 1, folders[k]!);
  }
  progress.stop();
  return sum;
}

/** @throws ConfigError where two models have not the same tensors */
function checkSame(a: Parameters, b: Parameters, first: string, other: string): void {
  const shapes = new Map(b.specs.map(({ name, shape }) => [name, String(shape)]));
  const differs = a.specs.find(({ name, shape }) => shapes.get(name) !== String(shape));
  if (!differs && a.specs.length === b.specs.length) return;
  const has = (shape: string | undefined): string =>
    shape === undefined ? `no ${name}` : `${name} [${shape}]`;
  const name = differs?.name ?? b.specs.find((s) => !a.specs.some((own) => own.name === s.name))!.name;
  const own = a.specs.find((s) => s.name === name)?.shape;
  throw new ConfigError(
    `vbon average: ${first} has ${has(own && String(own))}, ${other} ${has(shapes.get(name))}; expected models that began as one`,
  );
}

async function card(config: Config, shares: readonly number[]): Promise<string> {
  const names = config.models.map((folder) => resolve(folder));
  return renderModelCard({
    name: basename(resolve(config.out)),
    summary: `The average of the weights of ${names.length} models.`,
    license: "other",
    language: [],
    tags: ["vbon", "average"],
    settings: [
      ...names.map((name, k) => [name, String(Number(shares[k]!.toFixed(6)))] as const),
      ["weights in", config.dtype],
      ["date", new Date().toISOString().slice(0, 10)],
      ["version", `vbon ${await version()}`],
    ],
    attributions: [],
    commands: [{ what: "How it was made:", command: commandLine("average", schema, config) }],
    limits: [
      "It inherits the limits and the licences of its models. Models that did not begin as one have no average that is worth anything.",
    ],
  });
}
