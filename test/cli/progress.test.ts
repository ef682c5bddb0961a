import { describe, expect, it } from "vitest";
import { clock, createProgress, progressText } from "../../src/cli/progress.ts";

describe("progress", () => {
  it("tells rate and remaining time", () => {
    const options = { total: 100, unit: "steps", start: 20 };
    expect(progressText(options, 60, 20_000, "loss 2")).toBe("60/100 steps, 2.00 steps/s, 0:20 left, loss 2");
    expect(progressText(options, 100, 20_000, "")).toBe("100/100 steps, 4.00 steps/s, in 0:20");
    expect(progressText(options, 20, 0, "")).toBe("20/100 steps");
    expect(progressText({ total: 9, unit: "steps" }, 2, 10_000, "")).toBe(
      "2/9 steps, 5.00 s a step, 0:35 left",
    );
  });

  it.each([
    [7, "0:07"],
    [750, "12:30"],
    [10930, "3:02:10"],
  ])("writes %d seconds as %s", (seconds, text) => expect(clock(seconds)).toBe(text));

  it("writes a line every five seconds where there is no terminal, and the last state at the end", () => {
    let [time, written] = [0, ""];
    const progress = createProgress(
      { write: (text) => (written += text) },
      { label: "x", total: 10, unit: "lines" },
      () => time,
    );
    for (let done = 1; done <= 10; done++) {
      time += 1000;
      progress.update(done, `at ${done}`);
    }
    expect(
      written
        .trim()
        .split("\n")
        .map((line) => line.split(",")[0]),
    ).toEqual(["5/10 lines", "10/10 lines"]);
    time += 100;
    progress.update(10, "end");
    progress.stop();
    progress.stop();
    expect(written.trim().split("\n")).toHaveLength(3);
  });

  it("draws a bar on a terminal", () => {
    let written = "";
    const stream = {
      isTTY: true,
      columns: 80,
      cursorTo: () => true,
      write: (text: string) => (written += text),
      on: () => undefined,
    };
    const progress = createProgress(stream, { label: "sft", total: 10, unit: "steps" });
    progress.update(5, "loss 2");
    progress.stop();
    expect(written).toContain("sft: 5/10 steps");
  });
});
