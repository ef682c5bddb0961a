/** A cache whose responses end at a text: what learns from it draws alike. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { openAlignTask } from "../support/align-task.ts";
import { flags, records, vbon } from "../support/run-cli.ts";

const { device, task, at } = await openAlignTask({ stop: "e" });

it("aligns to responses that end there, evaluates on them, and tells transformers", async () => {
  const out = at("run");
  const asked = { ...task.run, episodes: 32, out, evalCache: task.test, evalEvery: 1, samplesEvery: 1 };
  const { code, stderr } = await vbon(device, ["align", ...flags(asked)]);
  expect(code, stderr).toBe(0);
  const tokenizer = await loadTokenizer(task.policy);
  const drawn = records(at("run/samples.jsonl")).map((r) => String(r["text"]));
  const stopped = drawn.filter((text) => text.includes("e"));
  expect(stopped.length).toBeGreaterThan(0);
  // Nothing comes after the token that says it.
  const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
  const longest = Math.max(...ids.map((id) => tokenizer.decode([id]).length));
  for (const text of stopped) expect(text.length - text.indexOf("e")).toBeLessThanOrEqual(longest);
  const { evalEosRate } = records(at("run/metrics.jsonl")).at(-1)!;
  expect(evalEosRate).toBeGreaterThan(0);
  const settings = JSON.parse(readFileSync(at("run/model/generation_config.json"), "utf8")) as object;
  expect(settings).toMatchObject({ stop_strings: ["e"] });
});
