/** Rewards of conversations: learnt from preferences and labels, asked in their own template, through cache, align, evaluate and Best-of-N. */
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readCache } from "../../src/align/cache/file.ts";
import { type RewardSource, readRewardData } from "../../src/cli/train/reward-data.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { testDevice } from "../support/device.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";
import { scratch } from "../support/training.ts";
import { tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = scratch();
const at = (name: string): string => join(folder, name);
afterAll(() => device.close());

const [policy, base] = [at("policy"), at("base")];
await tinyLm(device, policy);
await tinyLm(device, base, 2);
const letters = (begin: string): string =>
  `{% for m in messages %}{{ '${begin}' + m.role[0] + ':' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '${begin}' }}a:{% endif %}`;
writeFileSync(join(policy, "chat_template.jinja"), letters(""));
writeFileSync(at("own.jinja"), letters("> "));

const write = (name: string, ...records: readonly unknown[]): string => {
  writeFileSync(at(name), records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return at(name);
};
type Settings = Parameters<typeof flags>[0];
const run = (verb: string, settings: Settings): Promise<Outcome> => vbon(device, [verb, ...flags(settings)]);
const done = async (verb: string, settings: Settings): Promise<string> => {
  const { code, stdout, stderr } = await run(verb, settings);
  expect(code, stderr).toBe(0);
  return stdout;
};

const user = (content: string) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });
const prompts = ["the cat", "a dog", "the house", "a tree", "the mat", "a big red dog"];
/** Ten of each prompt: answers with "sat" are better. */
const pairs = prompts.flatMap((p) =>
  Array.from({ length: 10 }, () => [p, "sat on a mat", "ran to a tree"] as const),
);

describe("preferences", () => {
  const source = { chosenField: "chosen", rejectedField: "rejected", n: 2, westKeep: 1, seed: 0 };
  const settings = { block: 64, reads: "last", testFraction: 0.2, validationFraction: 0.2, seed: 0 } as const;
  const hashOf = async (
    name: string,
    record: (p: string, good: string, bad: string) => object,
  ): Promise<string> => {
    const file = write(name, ...pairs.map(([p, good, bad]) => record(p, good, bad)));
    const tokenizer = await loadTokenizer(policy);
    return (await readRewardData({ ...source, pairs: file } as RewardSource)).split(tokenizer, settings).hash;
  };

  it("are the same in each of TRL's formats, and as the text that the template makes of them", async () => {
    const whole = (p: string, answer: string) => [user(p), assistant(answer)];
    const text = (p: string, answer: string): string => `u:${p}\na:${answer}\n`;
    const expected = await hashOf("text.jsonl", (p, good, bad) => ({
      chosen: text(p, good),
      rejected: text(p, bad),
    }));
    const formats = {
      whole: (p: string, good: string, bad: string) => ({ chosen: whole(p, good), rejected: whole(p, bad) }),
      "prompt beside the whole": (p: string, good: string, bad: string) => ({
        prompt: p,
        chosen: whole(p, good),
        rejected: whole(p, bad),
      }),
      "messages of a prompt": (p: string, good: string, bad: string) => ({
        prompt: [user(p)],
        chosen: [assistant(good)],
        rejected: [assistant(bad)],
      }),
      "a prompt that a user says": (p: string, good: string, bad: string) => ({
        prompt: p,
        chosen: [assistant(good)],
        rejected: [assistant(bad)],
      }),
    };
    for (const [name, record] of Object.entries(formats))
      expect(await hashOf("talk.jsonl", record), name).toBe(expected);
  });
});

describe("a reward of conversations", () => {
  const small = { model: base, steps: 30, batch: 8, lr: 0.01, block: 48, tokenDropout: 0, json: true };
  const reward = at("reward/model");

  it("learns from preferences, and keeps the template that it learnt in", async () => {
    const file = write(
      "pairs.jsonl",
      ...pairs.map(([p, good, bad]) => ({
        chosen: [user(p), assistant(good)],
        rejected: [user(p), assistant(bad)],
      })),
    );
    const result = await done("reward", {
      ...small,
      pairs: file,
      chatTemplate: at("own.jinja"),
      out: at("reward"),
    });
    expect((JSON.parse(result) as { accuracy: number }).accuracy).toBe(1);
    expect((await loadTokenizer(reward)).chatTemplates.get("default")).toBe(letters("> "));
  });

  it("is asked in that template, whatever the policy's is", async () => {
    const bare = at("bare");
    cpSync(reward, bare, { recursive: true });
    const config = JSON.parse(readFileSync(join(bare, "tokenizer_config.json"), "utf8")) as Record<
      string,
      unknown
    >;
    delete config["chat_template"];
    writeFileSync(join(bare, "tokenizer_config.json"), JSON.stringify(config));
    const scoreOf = async (name: string, record: object): Promise<number> => {
      const input = write(`${name}.jsonl`, record);
      const judge = name === "talk" ? reward : bare;
      const line = await done("score", { model: policy, reward: judge, input, json: true });
      return (JSON.parse(line.split("\n")[0]!) as { score: number }).score;
    };
    const spelled = await scoreOf("spelled", { text: "> u:the cat\n> a:sat\n" });
    expect(await scoreOf("talk", { messages: [user("the cat"), assistant("sat")] })).toBe(spelled);
  });

  it("learns from labels too", async () => {
    const labelled = pairs.flatMap(([p, good, bad]) => [
      { messages: [user(p), assistant(good)], label: 1 },
      { messages: [user(p), assistant(bad)], label: 0 },
    ]);
    const data = write("labels.jsonl", ...labelled);
    const settings = { ...small, data, chatTemplate: at("own.jinja"), out: at("labels") };
    expect((JSON.parse(await done("reward", settings)) as { accuracy: number }).accuracy).toBe(1);
  });

  it("sees the messages in a cache, in aligning, evaluating and Best-of-N; West-of-N keeps them", async () => {
    const judge = at("judge.mjs");
    writeFileSync(
      judge,
      `export default (inputs) => inputs.map(({ prompt, response, messages }) => {
        if (prompt !== "s:sit\\nu:" + messages[1].content + "\\na:" || messages[0].content !== "sit")
          throw new Error("no messages with " + prompt);
        return response.split("t").length;
      });`,
    );
    const file = write("prompts.jsonl", ...prompts.map((prompt) => ({ prompt })));
    const sampling = { samples: 8, rows: 16, maxNewTokens: 6 };
    const talk = { chat: true, system: "sit" };
    const cache = at("cache.jsonl");
    await done("cache", { policy, reward: judge, prompts: file, ...talk, ...sampling, out: cache });
    const [entry] = [...(await readCache(cache)).entries.values()];
    expect(entry!.messages).toEqual([{ role: "system", content: "sit" }, user("the cat")]);
    const sizes = { episodes: 32, rollout: 16, minibatch: 8, microBatch: 8, rows: 16, evalSamples: 2 };
    await done("align", { policy, reward: judge, cache, evalCache: cache, n: 2, ...sizes, out: at("run") });
    await done("evaluate", {
      policy: at("run/model"),
      reference: policy,
      reward: judge,
      cache,
      samples: 2,
      n: 2,
    });
    await done("generate", {
      model: policy,
      prompts: file,
      ...talk,
      bestOf: 2,
      reward: judge,
      maxNewTokens: 6,
    });
    const west = await readRewardData({ westOf: cache, n: 4, westKeep: 1, seed: 0 } as RewardSource);
    expect(west.texts[0]).toMatch(/^sit\n(the|a) /);
  });

  it("is refused by line where nobody answers, or no template is there", async () => {
    const refused = async (settings: Settings): Promise<string> => {
      const { code, stderr } = await run("reward", { ...small, out: at("refused"), ...settings });
      expect(code).toBe(2);
      rmSync(at("refused"), { recursive: true, force: true });
      return stderr;
    };
    const open = write("open.jsonl", {
      chosen: [user("a"), user("b")],
      rejected: [user("a"), assistant("b")],
    });
    expect(await refused({ pairs: open })).toMatch(/open\.jsonl:1: the last message is of the role "user"/);
    const mixed = write("mixed.jsonl", { chosen: [assistant("a")], rejected: "b" });
    expect(await refused({ pairs: mixed })).toMatch(
      /mixed\.jsonl:1: expected texts in .* or lists of messages/,
    );
    expect(await refused({ pairs: at("pairs.jsonl") })).toMatch(/no chat template .* --chat-template/);
    expect(await refused({ pairs: at("pairs.jsonl"), chatTemplate: "./nowhere.jinja" })).toMatch(
      /no such file/,
    );
    const bad = write("bad.jsonl", { messages: [user("a")], label: 1 });
    expect(await refused({ data: bad })).toMatch(/bad\.jsonl:1: the last message/);
  });
});
