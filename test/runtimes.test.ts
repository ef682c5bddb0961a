/** The built package on this runtime; docs/runtimes.md says how to run the same on others. */
import { afterAll, describe, expect, it } from "vitest";
import { builtScript } from "./support/child.ts";

const smoke = builtScript("smoke.mjs");
afterAll(() => smoke.dispose());

describe("scripts/smoke.mjs", () => {
  it("trains a tiny model to the known losses", async () => {
    const { code, stdout, stderr } = await smoke.run();
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      runtime: `node ${process.versions.node}`,
      losses: { length: 10 },
      tokens: { length: 16 },
      savedAlike: true,
    });
    expect(stderr).toMatch(/largest difference from the known losses: \d/);
  });

  it("says why when a browser cannot be started", async () => {
    const { code, stdout } = await smoke.run(["--browser", "no-such-browser"]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).error).toContain("no-such-browser");
  });
});
