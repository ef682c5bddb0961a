/** The help pages of what samples, aligns and judges: every flag with its doc line and default. */
import { describe, expect, it } from "vitest";
import { vbon } from "../support/run-cli.ts";

describe("help", () => {
  for (const verb of ["generate", "cache", "align", "plan", "evaluate"]) {
    it(`of ${verb}`, async () => {
      const { code, stdout, stderr } = await vbon(undefined, [verb, "--help"]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatchSnapshot();
    });
  }
});
