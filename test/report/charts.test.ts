/* oxlint-disable no-control-regex -- control characters are what these tests are about */
import { describe, expect, it, vi } from "vitest";
import {
  cdfChart,
  CDF_LIMIT,
  loggedQuantities,
  rewardAgainstKl,
  trainingCurves,
  winAgainstKl,
} from "../../src/report/charts.ts";
import { textWidth } from "../../src/report/charts/text-width.ts";
import { styleAt } from "../../src/report/palette.ts";
import type { Comparison } from "../../src/report/types.ts";
import { bare, curve, sample } from "./sample-comparison.ts";

/** Marks by what they are, as vega labels them for screen readers; axes and legends do not count. */
function marks(svg: string, kind: "point" | "line mark" | "rule mark"): number {
  return svg.split(`aria-roledescription="${kind}"`).length - 1;
}

describe("rewardAgainstKl and winAgainstKl", () => {
  it("draw one point per method and per N, one bar per interval, one curve", async () => {
    for (const draw of [rewardAgainstKl, winAgainstKl]) {
      const svg = await draw(sample);
      expect(marks(svg, "point")).toBe(sample.methods.length + sample.bonCurve.length);
      expect(marks(svg, "rule mark")).toBe(sample.methods.length);
      expect(marks(svg, "line mark")).toBe(1);
    }
  });

  it("place the points by the data", async () => {
    const svg = await rewardAgainstKl(sample);
    const places = [
      ...svg.matchAll(/aria-roledescription="point" transform="translate\(([\d.]+),([\d.]+)\)"/g),
    ];
    const xs = places.map((match) => Number(match[1]));
    const kls = [
      ...sample.bonCurve.map((p) => p.kl),
      ...sample.methods.filter((m) => m.name !== "reference").map((m) => m.kl),
      0,
    ];
    const scale = Math.max(...xs) / Math.max(...kls);
    expect(xs).toHaveLength(kls.length);
    xs.forEach((x, i) => expect(x).toBeCloseTo((kls[i] ?? NaN) * scale, 3));
  });

  it("label the axes with units, the curve with N, and name every series once", async () => {
    const svg = await winAgainstKl(sample);
    expect(svg).toContain(">KL from the reference (nats per response)</text>");
    expect(svg).toContain(">Win rate against the reference</text>");
    for (const n of [2, 3, 4, 8, 16, 32]) expect(svg).toContain(`>N=${n}</text>`);
    for (const { name } of sample.methods) expect(svg.split(`>${name}</text>`)).toHaveLength(2);
  });

  it("join results of one name and print their settings", async () => {
    const at = (n: number, kl: number): Comparison["methods"][number] => ({
      name: "vbon",
      setting: `N = ${n}`,
      reward: 0.7 + kl / 20,
      win: 0.8,
      kl,
      length: 1,
      eosRate: 0,
      distinct2: 1,
    });
    const svg = await rewardAgainstKl({ ...bare, methods: [at(2, 0.2), at(4, 0.7), at(8, 1.4)] });
    expect(marks(svg, "line mark")).toBe(1);
    expect(marks(svg, "point")).toBe(3);
    expect(svg).toContain(">N = 4</text>");
  });

  it("give a lone method room around it, and a plain scale", async () => {
    const svg = await winAgainstKl(bare);
    expect(marks(svg, "point")).toBe(1);
    expect(svg).toContain(">0.80</text>");
    expect(svg).not.toContain("0.830000");
  });

  it("keep a linear axis for the reference and one method, and draw the reference alone", async () => {
    const svg = await winAgainstKl({ ...bare, methods: sample.methods.slice(0, 2) });
    expect(svg).not.toContain("square-root");
    const alone = await winAgainstKl({ ...bare, methods: sample.methods.slice(0, 1) });
    expect(marks(alone, "point")).toBe(1);
    expect(alone).not.toMatch(/NaN|Infinity/);
  });

  it("leave out what is not finite, and say so when the KL axis is not linear", async () => {
    const [first] = bare.methods;
    const far = { ...sample.methods[0]!, name: "hacked", kl: 36.7 };
    const svg = await rewardAgainstKl({
      ...sample,
      methods: [first!, { ...first!, name: "lost", kl: Number.NaN }, far],
    });
    expect(marks(svg, "point")).toBe(2 + sample.bonCurve.length);
    expect(svg).not.toContain("lost");
    expect(svg).toContain("square-root scale");
  });
});

describe("trainingCurves", () => {
  it("draws one panel per logged quantity and one line per method in it", async () => {
    const svg = await trainingCurves(sample);
    expect(loggedQuantities(sample)).toEqual(["reward", "win", "rank", "kl", "entropy", "clipFraction"]);
    // dpo logged three quantities, vbon and ppo all six.
    expect(marks(svg, "line mark")).toBe(3 * 3 + 3 * 2);
  });

  it("dots short curves, so that a single point is seen", async () => {
    const svg = await trainingCurves({
      ...sample,
      trainingCurves: { vbon: curve(1, 1).map(({ episodes, kl }) => ({ episodes, kl: kl! })) },
    });
    expect(marks(svg, "point")).toBe(1);
    expect(svg).toContain("KL (nats per response)");
    expect(svg).not.toContain("Clip fraction");
  });
});

describe("cdfChart", () => {
  it("draws two lines per prompt, up to the limit", async () => {
    expect(marks(await cdfChart(sample.cdfs, "score"), "line mark")).toBe(2 * sample.cdfs.length);
    const many = Array.from({ length: 9 }, (_, i) => ({ prompt: "same prompt", rewards: [i, i + 1] }));
    expect(marks(await cdfChart(many, "score"), "line mark")).toBe(2 * CDF_LIMIT);
  });

  it("steps once per distinct reward, from 1/(M+1) to 1", async () => {
    const svg = await cdfChart([{ prompt: "p", rewards: [3, 1, 2, 2] }], "score");
    const path =
      /<path aria-label="[^"]*"[^>]*aria-roledescription="line mark" d="([^"]*)"/.exec(svg)?.[1] ?? "";
    const ys = [...path.matchAll(/,([\d.]+)/g)].map((match) => Number(match[1]));
    const heights = [...new Set(ys)].map((y) => 1 - y / 260);
    // Vega draws F from 0 to 1 over 260 pixels: (k + 1)/(M + 1) with M = 4; the tie takes two steps at one place.
    [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1].forEach((F, i) => expect(heights[i]).toBeCloseTo(F, 6));
    expect(heights).toHaveLength(5);
  });

  it("ignores prompts without rewards and rewards that are no numbers", async () => {
    const svg = await cdfChart(
      [
        { prompt: "none", rewards: [] },
        { prompt: "some", rewards: [1, Number.NaN] },
      ],
      "score",
    );
    expect(marks(svg, "line mark")).toBe(2);
    expect(svg).not.toContain("none</text>");
  });
});

describe("drawing", () => {
  it("escapes names and spells out what hides", async () => {
    const evil = { ...bare.methods[0]!, name: `</svg><script>x("&'\u202E\u0007` };
    const svg = await rewardAgainstKl({
      ...bare,
      methods: [evil],
      task: { ...bare.task, reward: "<img src=x>" },
    });
    expect(svg).not.toMatch(/<script|<img|\u202E|\u0007/);
    expect(svg).toContain("[U+202E]");
    expect(svg.match(/<\/svg>/g)).toHaveLength(1);
  });

  it("gives Vega-Lite nothing to warn about", async () => {
    // It reports conflicting or ignored parts of a specification this way.
    const warn = vi.spyOn(console, "warn");
    await Promise.all([
      rewardAgainstKl(sample),
      winAgainstKl(bare),
      trainingCurves(sample),
      cdfChart(sample.cdfs, "score"),
    ]);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it("gives the same bytes twice", async () => {
    expect(await winAgainstKl(sample)).toBe(await winAgainstKl(sample));
  });

  it("tells 42 series apart by colour, shape and dash", () => {
    const seen = new Set(Array.from({ length: 42 }, (_, i) => JSON.stringify(styleAt(i))));
    expect(seen.size).toBe(42);
  });

  it("knows the widths of Helvetica", () => {
    // Adobe's Helvetica.afm: A 667, i 222, space 278, tilde 584.
    expect(textWidth("A", 1000)).toBe(667);
    expect(textWidth("i ~", 1000)).toBe(222 + 278 + 584);
  });
});
