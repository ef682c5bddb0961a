import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { swiftshaderFolder } from "../src/host.ts";

interface Source {
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly signedBy: string;
}

interface Apt {
  parseLines(text: string): Source[];
  parseDeb822(text: string): Source[];
  findSource(sources: readonly Source[], codename: string): Source | undefined;
}

interface Scripts {
  readonly apt: Apt;
  readonly tests: {
    count(results: unknown, code: number): { passed: number; failed: number; skipped: number };
  };
  readonly steps: { checkNode(version: string): void };
  readonly swiftshader: { untar(tar: Buffer): Map<string, Buffer> };
}

/** The scripts are plain JavaScript: they run before anything is installed. */
async function script<K extends keyof Scripts>(name: K): Promise<Scripts[K]> {
  return (await import(new URL(`../scripts/${name}.mjs`, import.meta.url).href)) as Scripts[K];
}

describe("apt sources", () => {
  it("reads both formats and finds the release's mirror and key", async () => {
    const { parseLines, parseDeb822, findSource } = await script("apt");
    const lines = parseLines(
      "# deb http://off.example/debian bookworm main\n" +
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib # note\n" +
        "deb-src http://mirror.example/debian bookworm main\n",
    );
    const wanted = { uri: "http://mirror.example/debian", suites: ["bookworm"], signedBy: "/k.gpg" };
    expect(lines).toEqual([{ ...wanted, components: ["main", "contrib"] }]);
    const paragraphs = parseDeb822(
      "Types: deb\n# a comment\nURIs: http://security.example/debian\nSuites: bookworm-security\nComponents: main\n\n" +
        "Types: deb deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n" +
        "Signed-By:\n -----BEGIN KEY-----\n .\n abc\n\nTypes: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n",
    );
    expect(paragraphs.map((source) => source.uri)).toEqual(["http://security.example/debian", wanted.uri]);
    expect(findSource(paragraphs, "bookworm")?.signedBy).toBe("-----BEGIN KEY-----\n .\n abc");
    expect(findSource(lines, "trixie")).toBeUndefined();
  });
});

describe("the closing line", () => {
  const file = (status: string, ...tests: string[]): object => {
    return { status, assertionResults: tests.map((each) => ({ status: each })) };
  };

  it("counts tests, and files that fail without a failing test", async () => {
    const { count } = await script("tests");
    const results = {
      testResults: [file("passed", "passed", "pending"), file("failed", "failed", "passed"), file("failed")],
    };
    expect(count(results, 1)).toEqual({ passed: 2, failed: 2, skipped: 1 });
  });

  it("never hides a failure of vitest itself", async () => {
    const { count } = await script("tests");
    expect(count(undefined, 1)).toEqual({ passed: 0, failed: 1, skipped: 0 });
    expect(count({ testResults: [file("passed", "passed")] }, 1)).toEqual({
      passed: 1,
      failed: 1,
      skipped: 0,
    });
    expect(count({ testResults: [file("passed", "passed")] }, 0)).toEqual({
      passed: 1,
      failed: 0,
      skipped: 0,
    });
  });
});

describe("steps", () => {
  it("wants Node 20.19", async () => {
    const { checkNode } = await script("steps");
    for (const version of ["20.19.0", "22.0.0", "24.1.0"]) expect(() => checkNode(version)).not.toThrow();
    for (const version of ["18.20.1", "20.18.3"])
      expect(() => checkNode(version)).toThrow(/expected Node 20\.19 or newer/);
  });

  it("says how it is used", () => {
    const path = fileURLToPath(new URL("../scripts/bootstrap.mjs", import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [path, "dance"], { encoding: "utf8" });
    expect(status).toBe(2);
    expect(stderr).toMatch(/usage: .*demo\|test\|bench\|setup/);
  });
});

describe("SwiftShader", () => {
  it("is unpacked from a tar archive", async () => {
    const { untar } = await script("swiftshader");
    const here = fileURLToPath(new URL("..", import.meta.url));
    const tar = execFileSync("tar", ["-cf", "-", "--format=ustar", "LICENSE", "bin/vbon.mjs"], { cwd: here });
    const files = untar(tar);
    expect([...files.keys()]).toEqual(["LICENSE", "bin/vbon.mjs"]);
    expect(files.get("LICENSE")?.toString()).toMatch(/^MIT License\n[\s\S]*SOFTWARE\.\n$/);
  });

  it.runIf(process.platform === "linux" && !process.env["VBON_SWIFTSHADER"])(
    "has its folder in the user's cache",
    () => {
      expect(swiftshaderFolder()).toMatch(/\/vbon\/swiftshader$/);
    },
  );
});
