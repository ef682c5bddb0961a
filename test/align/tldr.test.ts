/** The paper's summarisation prompts: the template, the post that gives way, and the two halves of the test. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readPrompts } from "../../src/align/cache/prompts.ts";
import { distributionOf, fittedTldr, redditPost, tldrText } from "../../src/align/cache/tldr.ts";
import { trainBpe } from "../../src/data/tokenizer/bpe.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { FormatError } from "../../src/errors.ts";
import { formatErrorOf, sharedData, temporaryFolder } from "../data/support.ts";
import { saveBpeTokenizer } from "../support/bpe.ts";

const folder = temporaryFolder();
const post = { subreddit: "dogs", title: "Mine", post: "One line.\nTwo lines.\n\nThree 😀" };
const fits = (most: number) => (text: string) => text.length <= most;

describe("a post", () => {
  it("stands in the template, from fields or from a prompt", () => {
    const text = "SUBREDDIT: r/dogs\n\nTITLE: Mine\n\nPOST: One line.\nTwo lines.\n\nThree 😀\n\nTL;DR:";
    expect(tldrText(post)).toBe(text);
    expect(redditPost({ prompt: text }, "f:1")).toEqual(post);
    expect(redditPost({ ...post, subreddit: "r/dogs" }, "f:1")).toEqual(post);
  });

  it("loses its last lines, then characters, until it fits", () => {
    const full = tldrText(post).length;
    const cut = (most: number): string =>
      redditPost({ prompt: fittedTldr(post, fits(most), "f:1") }, "f:1").post;
    expect(cut(full)).toBe(post.post);
    expect(cut(full - 1)).toBe("One line.\nTwo lines.\n");
    expect(cut(full - 20)).toBe("One line.");
    expect(cut(full - 24)).toBe("One li");
    const emoji = { ...post, post: "a😀" };
    expect(fittedTldr(emoji, fits(tldrText(emoji).length - 1), "f:1")).toBe(tldrText({ ...post, post: "a" }));
    expect(() => fittedTldr(post, fits(20), "f:7")).toThrow(
      new FormatError("f:7: title and forum alone are longer than a prompt may be"),
    );
  });

  it("is of one half or of the other", () => {
    const halves = ["relationships", "relationship_advice", "Relationships", "dogs"].map((subreddit) =>
      distributionOf({ ...post, subreddit }),
    );
    expect(halves).toEqual(["in", "in", "in", "out"]);
  });

  it("is refused where it is none", async () => {
    const path = join(folder, "bad.jsonl");
    writeFileSync(path, `${JSON.stringify(post)}\n{"prompt":"POST: hello"}\n`);
    await saveBpeTokenizer(folder, trainBpe(["a b"], { vocabSize: 257 }));
    const tokenizer = await loadTokenizer(folder);
    expect(await formatErrorOf(readPrompts(path, tokenizer, { format: "tldr" }))).toContain(
      `${path}:2: expected {"subreddit", "title", "post"}, or a {"prompt"} of "SUBREDDIT: r/`,
    );
  });
});

const posts = sharedData("tldr/posts.jsonl");
const gpt2 = sharedData("gpt2-tokenizer");

describe.skipIf(!posts || !gpt2)("the real posts", () => {
  const lines = (): string[] => readFileSync(posts!, "utf8").trimEnd().split("\n");
  const promptOf = (line: string): string => (JSON.parse(line) as { prompt: string }).prompt;

  it("are of two halves, and written back as they were", () => {
    const all = lines().map(promptOf);
    const read = all.map((prompt) => redditPost({ prompt }, "f"));
    expect(read.map(tldrText)).toEqual(all);
    expect(read.filter((one) => distributionOf(one) === "in").length).toBe(594);
  });

  it("fit, and end with TL;DR:", async () => {
    const tokenizer = await loadTokenizer(gpt2!);
    const path = join(folder, "some.jsonl");
    const some = lines().slice(0, 30);
    writeFileSync(path, `${some.join("\n")}\n`);
    const read = await readPrompts(path, tokenizer, { format: "tldr" });
    expect(read.map(({ text }) => text)).toEqual(some.map(promptOf)); // OpenAI has cut them to 512 already
    const short = await readPrompts(path, tokenizer, { format: "tldr", maxTokens: 128, distribution: "in" });
    expect(short.length).toBeGreaterThan(10);
    expect(short.every(({ ids }) => ids.length <= 128 && ids.length > 40)).toBe(true);
    expect(
      short.every(({ text }) => text.startsWith("SUBREDDIT: r/rel") && text.endsWith("\n\nTL;DR:")),
    ).toBe(true);
  });
});
