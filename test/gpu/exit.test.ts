/** A process that has opened a device ends by itself, promptly, closed or not. */
import { afterAll, describe, expect, it } from "vitest";
import { compileScript } from "../support/child.ts";

const script = compileScript("test/gpu/children/ends.ts");
afterAll(() => script.dispose());

describe("a process ends by itself", () => {
  it.each(["idle", "read", "unread", "abandoned read"])("%s", async (how) => {
    const { code, signal, stdout, stderr } = await script.run([how]);
    const ended = Date.now();
    expect({ code, signal }, stderr).toEqual({ code: 0, signal: null });
    if (how === "read") expect(stdout).toContain("read 1 and 1");
    const last = Number(/ends at (\d+)/.exec(stdout)?.[1]);
    expect(ended - last).toBeLessThan(2000);
  });

  it("and with its own code after an error", async () => {
    const { code, stderr } = await script.run(["throw"]);
    expect(code).toBe(1);
    expect(stderr).toContain("Error: a bug");
  });
});
