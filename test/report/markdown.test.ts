import { describe, expect, it } from "vitest";
import { type ModelCard, renderModelCard } from "../../src/report/markdown.ts";
import { bare, sample } from "./sample-comparison.ts";

const card: ModelCard = {
  name: "stories260K-vbon",
  summary: "Tells short, happy stories.",
  license: "mit",
  language: ["en"],
  tags: ["vbon", "rlhf"],
  baseModel: "karpathy/tinyllamas",
  datasets: ["roneneldan/TinyStories"],
  comparison: sample,
  attributions: [
    {
      name: "TinyStories",
      use: "Prompts.",
      licence: "CDLA-Sharing-1.0",
      authors: "Eldan and Li",
      url: "https://example.org/a b>",
    },
  ],
  commands: [{ what: "Generate:", command: "vbon generate --prompt 'Once'" }],
  limits: ["Knows nothing but stories."],
};

describe("renderModelCard", () => {
  it("starts with the front matter", () => {
    expect(renderModelCard(card).split("\n").slice(0, 12)).toEqual([
      "---",
      'license: "mit"',
      "language:",
      '- "en"',
      "pipeline_tag: text-generation",
      "tags:",
      '- "vbon"',
      '- "rlhf"',
      'base_model: "karpathy/tinyllamas"',
      "datasets:",
      '- "roneneldan/TinyStories"',
      "---",
    ]);
  });

  it("holds results, settings, commands, attributions and limits", () => {
    const text = renderModelCard(card);
    expect(text).toContain("| vbon | 0.812 \u00B1 0.009 | 0.838 (0.826 to 0.849) | 1.464 |");
    expect(text).toContain("N = 8: 0.889");
    expect(text).toContain("| measured on | Intel Xeon, llvmpipe (LLVM 19), Node 20.20 |");
    expect(text).toContain("```sh\nvbon generate --prompt 'Once'\n```");
    expect(text).toContain(
      "- [TinyStories](<https://example.org/a%20b%3E>), Eldan and Li: CDLA-Sharing-1.0. Prompts.",
    );
    expect(text.match(/^## .*/gm)).toEqual([
      "## Results",
      "## Setting",
      "## Commands",
      "## Data and licences",
      "## Limits",
    ]);
    expect(text.endsWith("stories.\n")).toBe(true);
  });

  it("escapes names, keeps tables whole, and fences commands that hold fences", () => {
    const methods = [{ ...sample.methods[1]!, name: "a|b\n<script>*x*" }];
    const text = renderModelCard({
      ...card,
      tags: ['x"\n---\nlicense: evil'],
      comparison: { ...sample, methods },
      commands: [{ what: "Fence:", command: "echo '```'" }],
    });
    expect(text).toContain('- "x\\" --- license: evil"');
    expect(text).toContain("| a\\|b \\<script\\>\\*x\\* |");
    expect(text).toContain("````sh\necho '```'\n````");
    const rows = text.split("\n").filter((line) => line.startsWith("| "));
    expect(rows.length).toBeGreaterThan(3);
  });

  it("leaves out the sections without content", () => {
    const text = renderModelCard({
      ...card,
      comparison: { ...bare, methods: [] },
      attributions: [],
      commands: [],
      limits: [],
      datasets: [],
    });
    expect(text.match(/^## .*/gm)).toEqual(["## Setting"]);
    expect(text).not.toMatch(/undefined|datasets/);
  });
});
