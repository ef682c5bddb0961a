/* oxlint-disable no-control-regex -- control characters are what these tests are about */
import { beforeAll, describe, expect, it } from "vitest";
import { toCsv, toJson } from "../../src/report/downloads.ts";
import { fixed } from "../../src/report/format.ts";
import { renderReport } from "../../src/report/page.ts";
import type { Comparison } from "../../src/report/types.ts";
import { bare, sample } from "./sample-comparison.ts";

let page = "";
beforeAll(async () => {
  page = await renderReport(sample);
});

/** The text of a `data:` link on the page. */
function download(html: string, name: string): string {
  const base64 = new RegExp(`download="${name}" href="data:[^,"]*;base64,([^"]*)"`).exec(html)?.[1] ?? "";
  return Buffer.from(base64, "base64").toString("utf8");
}

describe("the page", () => {
  it("is one file that runs nothing and fetches nothing", () => {
    expect(page.startsWith("<!doctype html>")).toBe(true);
    expect(page).not.toMatch(/<script|<link|<iframe|<img|@import|\son\w+=|javascript:/i);
    const addresses = [...page.matchAll(/(?:href|src)="([^"]*)"/g)].map((match) => match[1] ?? "");
    expect(addresses.length).toBeGreaterThan(0);
    for (const address of addresses) expect(address).toMatch(/^(data:|#)/);
    expect(page.replaceAll(/xmlns(:\w+)?="[^"]*"/g, "")).not.toMatch(/https?:/);
    expect(page).toContain("default-src 'none'");
  });

  it("has every section in order, and no id twice", () => {
    const headings = [...page.matchAll(/<h2>([^<]*)<\/h2>/g)].map((match) => match[1]);
    expect(headings).toEqual([
      "Results",
      "Reward and win rate against KL",
      "Training",
      "Rewards under the reference",
      "Samples",
      "Setting",
    ]);
    expect(page.match(/<figure/g)).toHaveLength(4);
    const ids = [...page.matchAll(/\sid="([^"]*)"/g)].map((match) => match[1]);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, target] of page.matchAll(/url\(#([^)]*)\)/g)) expect(ids).toContain(target);
  });

  it("closes the tags that it opens", () => {
    for (const tag of [
      "section",
      "table",
      "thead",
      "tbody",
      "tr",
      "td",
      "figure",
      "svg",
      "article",
      "div",
      "dl",
      "main",
      "data",
    ]) {
      const opened = page.match(new RegExp(`<${tag}[\\s>]`, "g"))?.length ?? 0;
      expect([tag, page.match(new RegExp(`</${tag}>`, "g"))?.length ?? 0]).toEqual([tag, opened]);
    }
  });

  it("prints the numbers of the data, and holds them exactly", () => {
    for (const { reward, win, kl, klK1, klK3, J, distinct2 } of sample.methods) {
      for (const value of [reward, win, kl, klK1 ?? 0, klK3 ?? 0, J ?? 0, distinct2]) {
        expect(page).toContain(`<data value="${value}">${fixed(value)}</data>`);
      }
    }
    for (const { n, kl } of sample.bonCurve) {
      expect(page).toContain(`N = ${n}</th>`);
      expect(page).toContain(`<data value="${kl}">${fixed(kl)}</data>`);
    }
    for (const { score } of sample.samples.flatMap(({ rows }) => rows))
      expect(page).toContain(`<data value="${score}">`);
  });

  it("offers the numbers as JSON and CSV", () => {
    expect(JSON.parse(download(page, "comparison.json"))).toEqual(sample);
    expect(download(page, "results.csv")).toBe(toCsv(sample));
  });

  it("prints settings, machine, versions and durations", () => {
    for (const text of [
      "Intel Xeon, llvmpipe (LLVM 19), Node 20.20",
      "vbon 0.1.0",
      "2 h 03 min",
      "51,200",
      "2026-09-30T12:00:00Z",
    ]) {
      expect(page).toContain(`<dd>${text}</dd>`);
    }
  });

  it("gives the same bytes twice", async () => {
    expect(await renderReport(sample)).toBe(page);
  });
});

describe("text that a model wrote", () => {
  const nasty = `<script>alert(1)</script> "q" 'a' & \u0000\u001B[2J \u202Eabc\u2066 \uDC00 ]]> --> </td>`;

  it("is escaped wherever it appears", async () => {
    const html = await renderReport({
      ...sample,
      title: nasty,
      task: {
        ...sample.task,
        policy: nasty,
        reward: nasty,
        machine: nasty,
        settings: { [nasty]: nasty },
        durations: { [nasty]: 1 },
      },
      methods: [{ ...sample.methods[1]!, name: nasty, setting: nasty }],
      trainingCurves: { [nasty]: sample.trainingCurves["vbon"]! },
      cdfs: [{ prompt: nasty, rewards: [1, 2] }],
      samples: [{ prompt: nasty, rows: [{ method: nasty, text: nasty, score: 1, rank: 0.5 }] }],
    });
    expect(html).not.toMatch(/<script|\u0000|\u001B|\u202E|\u2066|\uDC00/);
    expect(html.split("&lt;script&gt;alert(1)").length).toBeGreaterThan(8);
    expect(html).toContain("[U+202E]abc[U+2066]");
    expect(html.match(/<td dir="auto" class="text">/g)).toHaveLength(1);
  });

  it("keeps its lines and its direction", async () => {
    const text = "\u05E9\u05DC\u05D5\u05DD\n  world";
    const html = await renderReport({
      ...bare,
      samples: [{ prompt: "p", rows: [{ method: "vbon", text, score: 0, rank: 0 }] }],
    });
    expect(html).toContain(`<td dir="auto" class="text">${text}</td>`);
  });
});

describe("partial data", () => {
  it("leaves out the sections that have none", async () => {
    const html = await renderReport(bare);
    expect([...html.matchAll(/<h2>([^<]*)/g)].map((match) => match[1])).toEqual([
      "Results",
      "Reward and win rate against KL",
      "Setting",
    ]);
    expect(html).not.toMatch(/KL, k3|J = |Bars are/);
    expect(html).not.toMatch(/undefined|NaN|null/);
  });

  it("makes a page of nothing but a title", async () => {
    const html = await renderReport({ ...bare, methods: [] });
    expect([...html.matchAll(/<h2>([^<]*)/g)].map((match) => match[1])).toEqual(["Setting"]);
  });

  it("takes empty curves, prompts without responses, empty responses and infinite numbers", async () => {
    const partial: Comparison = {
      ...bare,
      methods: [
        { ...bare.methods[0]!, J: -Infinity },
        { ...bare.methods[0]!, name: "ppo", kl: Number.NaN },
      ],
      trainingCurves: { vbon: [], ppo: [{ episodes: 1, reward: 0.5 }] },
      cdfs: [{ prompt: "none", rewards: [] }],
      samples: [
        { prompt: "p", rows: [] },
        { prompt: "q", rows: [{ method: "new", text: " ", score: 1, rank: 1 }] },
      ],
    };
    const html = await renderReport(partial);
    expect(html).toContain("\u2212\u221E");
    expect(html).toContain("(empty)");
    expect(html).not.toMatch(/undefined|>NaN|Rewards under the reference/);
    expect(JSON.parse(toJson(partial)).methods[0].J).toBe("-Infinity");
  });
});

describe("toCsv", () => {
  it("quotes names and disarms formulas", () => {
    const csv = toCsv({ ...bare, methods: [{ ...bare.methods[0]!, name: '=SUM("a",1)', setting: "x\ny" }] });
    const [head, ...rest] = csv.split("\r\n");
    expect(head).toBe(
      "method,setting,reward,reward_se,win,win_low,win_high,kl_nats,kl_k1_nats,kl_k3_nats,j_nats,length_tokens,eos_rate,distinct_2",
    );
    expect(rest.join("\r\n")).toBe(`"'=SUM(""a"",1)","x\ny",0.8,,0.83,,,1.4,,,,40,0,0.7\r\n`);
  });
});
