/** The side-by-side benchmark without any peer: ratios, the table, and what happens to a peer that is not there. */
import { describe, expect, it } from "vitest";
import { ITEMS } from "../../bench/peers/items.ts";
import type { Contender } from "../../bench/peers/roster.ts";
import { compare, sampleOf } from "../../bench/peers/rounds.ts";
import { markdown, median, ratioOf, rowsOf, type Series, three } from "../../bench/peers/table.ts";

const series = (name: string, rates: readonly number[], cpu = 1): Series => ({
  name,
  setup: "",
  samples: rates.map((rate, round) => ({ round, rate, cpuRate: rate / cpu, parts: {} })),
});

/** A process that does `rate` units a second, or answers `says` when it starts. */
function fake(name: string, rates: Record<string, number>, says?: object): Contender {
  const script = (rate: number): string => `
    const say = (record) => console.log("@" + JSON.stringify(record));
    console.log("noise");
    say(${JSON.stringify(says ?? { ready: true, check: "fine" })});
    process.stdin.on("data", () => say({ parts: [
      { name: "a", units: ${rate}, seconds: 1, cpu: 2 },
      { name: "b", units: ${3 * rate}, seconds: 1, cpu: 2 },
    ] }));
    process.stdin.on("end", () => process.exit());`;
  const setups = Object.entries(rates).map(([label, rate]) => ({
    label,
    launch: { command: process.execPath, args: ["-e", script(rate)], env: {} },
    setting: {},
  }));
  return { name, setups };
}

describe("ratios", () => {
  it("median", () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([])]).toEqual([2, 2.5, NaN]);
  });

  it("are medians of each round's ratio, over the rounds that both have", () => {
    const ratio = ratioOf(series("vbon", [10, 4, 30]), series("peer", [5, 4], 2));
    expect(ratio).toEqual({ ours: 10, theirs: 4.5, ratio: 1.5, lowest: 1, highest: 2, cpuRatio: 3 });
  });

  it("a round is the mean over its parts", () => {
    const part = (units: number, seconds: number): object => ({ name: `${units}`, units, seconds, cpu: 1 });
    const sample = sampleOf([part(4, 2), part(8, 1)] as Parameters<typeof sampleOf>[0], 0);
    expect(sample).toEqual({ round: 0, rate: 5, cpuRate: 6, parts: { 4: 2, 8: 8 } });
  });
});

describe("rows", () => {
  const item = { id: "x", title: "work", unit: "tokens/s" };

  it("one a peer; ours alone without peers; peers alone where ours failed", () => {
    const [ours, peer] = [series("vbon", [2]), series("peer", [4])];
    expect(rowsOf(item, ours, [peer, peer]).map(({ ratio }) => ratio)).toEqual([0.5, 0.5]);
    expect(rowsOf(item, ours, [])).toEqual([{ id: "x", work: "work", unit: "tokens/s", ours: 2 }]);
    expect(rowsOf(item, undefined, [peer])[0]).toMatchObject({ peer: "peer", theirs: 4 });
  });

  it("seconds are the inverse of a rate", () => {
    expect(rowsOf({ ...item, unit: "s" }, series("vbon", [0.25]), [])[0]).toMatchObject({ ours: 4 });
  });

  it("as Markdown", () => {
    const rows = rowsOf(item, series("vbon", [1234.5]), [{ ...series("peer", [1000]), setup: "2 threads" }]);
    const heading = { machine: "m", date: "d", rounds: 5, versions: { vbon: "1" }, skipped: ["x: absent"] };
    expect(markdown(heading, rows)).toBe(
      [
        "m; d; vbon 1; medians of 5 alternating rounds",
        "",
        "| work | unit | vbon | peer | its rate | vbon / peer | lowest to highest | by processor time |",
        "|---|---|---|---|---|---|---|---|",
        "| work | tokens/s | 1,235 | peer, 2 threads | 1,000 | 1.23 | 1.23 to 1.23 | 1.23 |",
        "",
        "- x: absent",
        "",
      ].join("\n"),
    );
  });

  it.each([
    [undefined, ""],
    [Infinity, ""],
    [0.12345, "0.123"],
    [67.89, "67.9"],
    [12345.6, "12,346"],
  ])("three(%s) is %j", (value, text) => expect(three(value)).toBe(text));
});

describe("processes", () => {
  const item = ITEMS[0]!;
  const quiet = { rounds: 2, seconds: 1, say: () => {} };

  it("take turns; of several setups the fastest counts", async () => {
    const peer = fake("peer", { slow: 1, quick: 5 });
    const { ours, peers, skipped } = await compare(item, fake("vbon", { "": 10 }), [peer], quiet);
    expect(skipped).toEqual([]);
    expect(ours?.samples.map(({ rate }) => rate)).toEqual([20, 20]);
    expect(peers).toMatchObject([{ name: "peer", setup: "quick" }]);
    expect(ratioOf(ours!, peers[0]!)).toMatchObject({ ratio: 2, cpuRatio: 2 });
  });

  it("that cannot do the work leave a line, and the others go on", async () => {
    const absent = fake("absent", { "": 1 }, { skip: "not installed" });
    const broken = fake("broken", { "": 1 }, { error: "no such op" });
    const missing: Contender = {
      name: "missing",
      setups: [{ label: "", launch: { command: "/no/such/program", args: [], env: {} }, setting: {} }],
    };
    const outcome = await compare(item, fake("vbon", { "": 1 }), [absent, broken, missing], quiet);
    expect(outcome.peers).toEqual([]);
    expect(outcome.ours?.samples).toHaveLength(2);
    expect(outcome.skipped.map(({ name, why }) => `${name}: ${why}`)).toEqual([
      "absent: not installed",
      "broken: failed: no such op",
      expect.stringContaining("missing: failed: spawn /no/such/program ENOENT"),
    ]);
  });
});
