/** `vbon tune` on two small classes of shapes: found, remembered, listed, forgotten. */
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cli } from "../support/run-cli.ts";

describe("vbon tune", () => {
  const folder = mkdtempSync(join(tmpdir(), "vbon-tune-"));
  const file = join(folder, "vbon", "tune.json");
  beforeEach(() => {
    vi.stubEnv("XDG_CACHE_HOME", folder);
    vi.stubEnv("VBON_TUNE", "");
  });
  afterEach(() => vi.unstubAllEnvs());

  it(
    "remembers what it finds, also in a file that can ship, lists and forgets it",
    { timeout: 120_000 },
    async () => {
      const out = join(folder, "table.json");
      const found = await cli(["tune", "--shapes", "64x32x64", "--rounds", "1", "--out", out, "--json"]);
      expect(found.code).toBe(0);
      const { adapter, found: classes } = JSON.parse(found.stdout) as {
        adapter: string;
        found: { class: string }[];
      };
      expect(classes.map((one) => one.class)).toEqual(["nn N32 K64", "nt N32 K64", "tn N32 K64"]);
      const kept = JSON.parse(readFileSync(file, "utf8")) as { adapters: Record<string, { matmul: object }> };
      expect(Object.keys(kept.adapters[adapter]!.matmul)).toEqual(classes.map((one) => one.class));
      expect(JSON.parse(readFileSync(out, "utf8"))).toEqual(kept);
      expect((await cli(["tune", "--list"])).stdout).toContain("nt N32 K64");
      expect((await cli(["doctor"])).stdout).toMatch(/tuning +\d of \d+ classes/);
      expect((await cli(["tune", "--forget"])).code).toBe(0);
      expect(existsSync(file)).toBe(false);
    },
  );

  it("tunes products of f16 operands as classes of their own", { timeout: 120_000 }, async () => {
    const { code, stdout, stderr } = await cli([
      "tune",
      "--shapes",
      "64x32x64",
      "--rounds",
      "1",
      "--dtype",
      "f16",
      "--json",
    ]);
    expect(code, stderr).toBe(0);
    const { found } = JSON.parse(stdout) as { found: { class: string; tried: number }[] };
    expect(found.map((one) => one.class)).toEqual(["nn N32 K64 f16", "nt N32 K64 f16", "tn N32 K64 f16"]);
    expect(Math.min(...found.map(({ tried }) => tried))).toBeGreaterThan(0);
  });

  it("refuses what is no shape", async () => {
    const { code, stderr } = await cli(["tune", "--shapes", "64x32"]);
    expect(code).toBe(2);
    expect(stderr).toContain("--shapes 64x32: expected M x N x K");
  });

  it("does not write over a file that it cannot read", async () => {
    writeFileSync(file, "{");
    const { code, stderr } = await cli(["tune", "--shapes", "64x32x64", "--rounds", "1"]);
    expect(code).toBe(2);
    expect(stderr).toContain("--forget");
    expect(readFileSync(file, "utf8")).toBe("{");
  });
});
