/** A text gives the same numbers however it is laid out: alone, padded on either side, token by token over a cache. */
import { afterAll, describe, expect, it } from "vitest";
import { families } from "../../models/index.ts";
import { createModel, createScalarModel } from "../../models/model.ts";
import { createKvMemory } from "../../src/nn/kv-cache.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { tokenLogprobs } from "../../src/ops/logprob.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { classifierRun } from "../support/classifiers.ts";
import { testDevice } from "../support/device.ts";
import { DECODER_CONFIGS, ENCODER_CONFIGS } from "../support/family-configs.ts";
import { expectAbsolute, expectAllAbsolute } from "../support/golden-checks.ts";
import { batchInput, scoreProgram, writeBatch } from "../support/models.ts";
import { padded, someRows } from "../support/padding.ts";
import { randomise } from "../support/reference-check.ts";

const device = await testDevice();
afterAll(() => device.close());

const rows = someRows([13, 9, 2], 64);
const SIDES = ["right", "left"] as const;

it("covers every family", () => {
  const covered = [...DECODER_CONFIGS, ...ENCODER_CONFIGS].map(({ json }) => json.model_type);
  expect([...new Set(covered)].sort()).toEqual(families.map(({ name }) => name).sort());
});

describe.each(DECODER_CONFIGS)("$what", ({ json }) => {
  const model = createModel(device, json, { trainable: false });
  randomise(model.parameters, 4);
  let alone: number[][];

  it("gives a padded text the log-probabilities that it has alone", async () => {
    alone = [];
    for (const row of rows) alone.push(...(await scoreProgram(model, padded([row], "right"))).logprobs);
    for (const side of SIDES) {
      const { logprobs } = await scoreProgram(model, padded(rows, side));
      logprobs.forEach((got, b) => expectAllAbsolute(got, alone[b]!, 1e-5, `row ${b}, padded ${side}`));
    }
  });

  it.each(SIDES)("gives them token by token, after a prompt padded %s", async (side) => {
    for (const { b, t, logprob } of await decoded(model, side))
      expectAbsolute(logprob, alone[b]![t]!, 1e-5, `row ${b}, token ${t}`);
  });

  it("refuses rows beyond its context", async () => {
    const T = model.config.blockSize + 1;
    const long = record(device, "long", () => model.hidden(batchInput(1, T)));
    await expect(long).rejects.toThrow(`rows of ${T} tokens; expected at most ${T - 1}, the model's context`);
  });
});

/** Where a row's token t was decoded, the log-probability of the one after it. */
interface Decoded {
  readonly b: number;
  readonly t: number;
  readonly logprob: number;
}

/** Prompts in one batch, padded on a side; then every further token of each row, a step each. */
async function decoded(model: LanguageModel, side: "left" | "right"): Promise<Decoded[]> {
  const B = rows.length;
  const prompts = rows.map((row, b) => row.slice(0, [5, 3, 1][b]!));
  const memory = createKvMemory(device, model.config, B, 16);
  const prefill = await record(device, "prefill", () => {
    const [batch, source] = [batchInput(B, 5), input([B], "u32")];
    return { batch, source, hidden: model.hidden(batch, memory.prefill(source)) };
  });
  const step = await record(device, "step", () => {
    const [batch, targets] = [batchInput(B, 1), input([B], "u32")];
    const logits = model.logits(model.hidden(batch, memory.extend).reshape(B, -1));
    return { batch, targets, logprobs: tokenLogprobs(logits, targets, {})[0] };
  });
  writeBatch(prefill.result.batch, padded(prompts, side));
  prefill.result.source.write(rows.map((_, b) => b));
  prefill.run();
  const found: Decoded[] = [];
  for (let i = 0; i < 8; i++) {
    // A row that has ended decodes its last token with a target again.
    const places = rows.map((row, b) => Math.min(prompts[b]!.length + i, Math.max(row.length - 2, 0)));
    step.result.batch.ids.write(rows.map((row, b) => row[places[b]!]!));
    step.result.batch.positions.write(places);
    step.result.targets.write(rows.map((row, b) => row[places[b]! + 1]!));
    memory.lengths.write(places);
    step.run();
    const logprobs = await step.result.logprobs.read();
    places.forEach((t, b) => found.push({ b, t, logprob: logprobs[b]! }));
  }
  memory.dispose();
  return found;
}

describe.each(ENCODER_CONFIGS)("$what", ({ json }) => {
  const model = createScalarModel(device, json, { trainable: false });
  randomise(model.parameters, 4);
  const scores = async (texts: number[][], side: "left" | "right"): Promise<number[]> => {
    const run = await classifierRun(model, { padded: padded(texts, side), labels: texts.map(() => 0) });
    run.run();
    return Array.from(await run.logits());
  };

  it("gives a padded text the score that it has alone", async () => {
    const alone: number[] = [];
    for (const row of rows) alone.push(...(await scores([row], "right")));
    for (const side of SIDES) expectAllAbsolute(await scores(rows, side), alone, 1e-5, `padded ${side}`);
  });

  it("refuses texts beyond its context", async () => {
    const T = model.config.blockSize + 1;
    const long = record(device, "long", () => model.hidden(batchInput(1, T)));
    await expect(long).rejects.toThrow(`rows of ${T} tokens; expected at most ${T - 1}, the model's context`);
  });
});
