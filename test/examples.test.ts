/** The examples run, and the README shows the first of them as it is, with what it prints. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it, vi } from "vitest";
import { moduleReward } from "../src/align/rewards.ts";
import { verbs } from "../src/cli/verbs.ts";
import { cli } from "./support/run-cli.ts";

const text = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");

/** The first block of the README in this language. */
function readmeBlock(language: string): string {
  return text("README.md").split(`\`\`\`${language}\n`)[1]!.split("```")[0]!;
}

/** Runs an example with these arguments. Returns what it printed. */
async function run(example: string, ...args: string[]): Promise<string[]> {
  vi.spyOn(process, "argv", "get").mockReturnValue(["node", example, ...args]);
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  await import(new URL(`../examples/${example}`, import.meta.url).pathname);
  return log.mock.calls.map((call) => call.join(" "));
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("examples/train.ts", () => {
  it("is the README's first code", () => expect(readmeBlock("ts")).toBe(text("examples/train.ts")));

  it("prints the README's numbers", async () => {
    const shown = readmeBlock("text").trim().split("\n");
    const printed = await run("train.ts");
    const parts = (line: string): [string, number] => [
      line.replace(/[\d.]+ nats/, "nats"),
      Number(/([\d.]+) nats/.exec(line)?.[1]),
    ];
    expect(printed.map((line) => parts(line)[0])).toEqual(shown.map((line) => parts(line)[0]));
    for (const [i, line] of printed.entries()) {
      // The last digits belong to the adapter: sixty steps amplify the rounding of the first.
      const expected = parts(shown[i]!)[1];
      expect(Math.abs(parts(line)[1] - expected), line).toBeLessThan(0.002 + 0.05 * expected);
    }
  });
});

it("docs/vbon.md links to the lines that define what it names: else node scripts/doc-lines.mjs docs/vbon.md", async () => {
  const script = (await import("../scripts/doc-lines.mjs" as string)) as {
    withLines(path: string, text: string): string;
  };
  const page = text("docs/vbon.md");
  expect(script.withLines(fileURLToPath(new URL("../docs/vbon.md", import.meta.url)), page)).toBe(page);
});

describe("the README", () => {
  it("names every command once", () => {
    const named = [...text("README.md").matchAll(/^\| `vbon (\w+)` \|/gm)].map((match) => match[1]);
    expect(named.toSorted()).toEqual(Object.keys(verbs).toSorted());
  });

  it.each(["README.md", "docs/adding-an-op.md", "docs/kernels.md", "docs/vbon.md"])(
    "%s links only to what is there",
    (page) => {
      const links = [...text(page).matchAll(/\]\(([^)#]+)\)/g)].map((match) => match[1]!);
      const files = links.filter((link) => !link.startsWith("https://"));
      const from = new URL(`../${page}`, import.meta.url);
      expect(files.filter((link) => !existsSync(new URL(link, from)))).toEqual([]);
    },
  );
});

describe("examples/generate.ts", () => {
  const folder = new URL("../../shared/data/stories260K", import.meta.url).pathname;

  it.skipIf(!existsSync(folder))("draws eight different stories", async () => {
    const printed = await run("generate.ts", folder, "Once upon a time");
    expect(printed).toHaveLength(8);
    expect(new Set(printed).size).toBe(8);
    for (const line of printed) expect(line).toMatch(/^-\d+\.\d nats, (eos|length): Once upon a time/);
  });
});

describe("examples/align-with-your-reward.mjs", () => {
  it("is a reward that the commands take", async () => {
    const path = new URL("../examples/align-with-your-reward.mjs", import.meta.url).pathname;
    const reward = await moduleReward(path);
    const score = (response: string): Promise<Float64Array> =>
      reward.score([{ prompt: "", response, promptIds: [], responseIds: [] }]);
    const [plain] = await score(" The old cat slept near a warm stove.");
    const [repeated] = await score(" The cat cat cat cat cat cat cat.");
    const [unfinished] = await score(" The old cat");
    expect(plain).toBe(1);
    expect(repeated).toBeLessThan(plain!);
    expect(unfinished).toBe(-1);
  });
});

describe("examples/my-kernel.mjs", () => {
  const file = "examples/my-kernel.mjs";
  it("is right, and timed, by the public API and the command line alone", { timeout: 120_000 }, async () => {
    const { code, stdout } = await cli(["bench", "--kernel", file, "--time", "20", "--json"]);
    expect(code).toBe(0);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.filter((line) => "check" in line).map((line) => line["right"])).toEqual([true, true, true]);
    expect(lines.filter((line) => line["unit"] === "GB/s")).toHaveLength(2);
  });
  it("is refused where the file is no kernel, in one line", async () => {
    const other = await cli(["bench", "--kernel", "examples/align-with-your-reward.mjs"]);
    expect(other.code).toBe(2);
    expect(other.stderr).toContain("expected an export `op` made by defineOp");
    expect((await cli(["bench", "--check"])).stderr).toContain("expected --kernel FILE.mjs");
  });
  it("fails where a gradient is wrong", { timeout: 120_000 }, async () => {
    const folder = mkdtempSync(`${tmpdir()}/vbon-wrong-`);
    const wrong = `${folder}/swish.mjs`;
    const source = text(file)
      .replace("(1.0 - g)", "(1.0 + g)")
      .replace('"vbon"', `"${new URL("../src/index.ts", import.meta.url).pathname}"`);
    writeFileSync(wrong, source);
    const { code, stdout } = await cli(["bench", "--kernel", wrong, "--check"]);
    rmSync(folder, { recursive: true });
    expect(code).toBe(1);
    expect(stdout).toMatch(/swish ragged: gradient of input 0: element \d+ is .*, expected/);
  });
});
