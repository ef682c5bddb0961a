import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  appendLine,
  createFile,
  ensureFolder,
  openAppender,
  readJson,
  repairTornLine,
  replaceFile,
  writeFileAtomic,
} from "../../src/data/files.ts";
import { findJsonError, jsonText } from "../../src/data/json.ts";
import { formatErrorOf, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);

describe("writing by rename", () => {
  it("replaces the file, makes its folder, leaves nothing else behind", async () => {
    const path = at("a/b/c.txt");
    await writeFileAtomic(path, "one");
    await writeFileAtomic(path, new TextEncoder().encode("zwölf"));
    expect(readFileSync(path, "utf8")).toBe("zwölf");
    expect(readdirSync(at("a/b"))).toEqual(["c.txt"]);
  });

  it("keeps the old file when writing fails", async () => {
    const path = at("kept/file.txt");
    await writeFileAtomic(path, "old");
    const failing = replaceFile(path, async (append) => {
      await append(new TextEncoder().encode("half"));
      throw new Error("disk full");
    });
    await expect(failing).rejects.toThrow("disk full");
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(at("kept"))).toEqual(["file.txt"]);
  });

  it.skipIf(process.platform === "win32")("takes the place of no pipe and of no device", async () => {
    const pipe = at("pipe");
    execFileSync("mkfifo", [pipe]);
    expect(await formatErrorOf(writeFileAtomic(pipe, "x"))).toContain("there is a device or a pipe");
    expect(statSync(pipe).isFIFO()).toBe(true);
    expect(await formatErrorOf(writeFileAtomic("/dev/null", "x"))).toContain(
      "/dev/null: expected a file's name",
    );
    expect(statSync("/dev/null").isFile()).toBe(false);
  });

  it("says when a file stands where a folder is wanted", async () => {
    await writeFileAtomic(at("plain"), "");
    expect(await formatErrorOf(ensureFolder(at("plain")))).toContain("cannot make the folder");
  });
});

describe("a write that the system refuses", () => {
  const systemError = (code: string): Error =>
    Object.assign(new Error(`${code}: oh`), { code, syscall: "write" });

  it.each([
    ["ENOSPC", "(no space left on the device); make room there, or choose another place"],
    ["EROFS", "(the file system is read-only); choose another place"],
    ["EACCES", "(permission denied); choose another place, or change its permissions"],
    ["EIO", "(EIO: oh); choose another place"],
  ])("is the user's to mend: %s", async (code, told) => {
    const path = at(`refused/${code}`);
    const failing = replaceFile(path, () => Promise.reject(systemError(code)));
    expect(await formatErrorOf(failing)).toBe(`${path}: cannot be written ${told}`);
    expect(readdirSync(at("refused"))).toEqual([]);
  });

  it.each([
    ["writeFileAtomic", (path: string) => writeFileAtomic(path, "x")],
    ["appendLine", (path: string) => appendLine(path, "x")],
    ["createFile", (path: string) => createFile(path, "x")],
  ])("is one line: %s onto a folder, or below a file", async (name, write) => {
    writeFileSync(at(`${name}-file`), "");
    expect(await formatErrorOf(write(at(`${name}-file/x`)))).toContain(
      "a file stands where a folder is wanted",
    );
    if (name === "createFile") return;
    const place = at(`${name}-folder/x`);
    await ensureFolder(place);
    expect(await formatErrorOf(write(place))).toMatch(/a folder/);
    expect(readdirSync(at(`${name}-folder`))).toEqual(["x"]);
  });

  it.skipIf(!isDevice("/dev/full"))("is one line where the disk is full", async () => {
    expect(await formatErrorOf(appendLine("/dev/full", "x"))).toContain(
      "/dev/full: cannot be written (no space left",
    );
  });
});

describe("appending lines", () => {
  it.each([
    { name: "whole", before: '{"a":1}\n', after: '{"a":1}\n{"b":2}\n' },
    { name: "torn", before: '{"a":1}\n{"a":', after: '{"a":1}\n{"b":2}\n' },
    { name: "only the newline lost", before: '{"a":1}\n{"a":9}', after: '{"a":1}\n{"a":9}\n{"b":2}\n' },
    { name: "torn first line", before: "12", after: '{"b":2}\n' },
    { name: "long torn line", before: `{"a":1}\n{"${"x".repeat(50_000)}`, after: '{"a":1}\n{"b":2}\n' },
    { name: "empty", before: "", after: '{"b":2}\n' },
  ])("repairs a file that is $name", async ({ name, before, after }) => {
    const path = at(`append-${name}.jsonl`);
    writeFileSync(path, before);
    await appendLine(path, '{"b":2}');
    expect(readFileSync(path, "utf8")).toBe(after);
  });

  it("answers what it cut, and makes a missing file", async () => {
    writeFileSync(at("cut"), "ok\nbroken");
    expect(await repairTornLine(at("cut"))).toBe(6);
    expect(await repairTornLine(at("not-there"))).toBe(0);
    const appender = await openAppender(at("new/log"));
    await appender.append("1");
    await appender.append("2");
    expect(await formatErrorOf(appender.append("3\n4"))).toContain("newline");
    await appender.close();
    expect(readFileSync(at("new/log"), "utf8")).toBe("1\n2\n");
  });
});

describe("JSON", () => {
  it("reads, and says where it is malformed", async () => {
    writeFileSync(at("good.json"), '{"a": [1, 2]}');
    expect(await readJson(at("good.json"))).toEqual({ a: [1, 2] });
    writeFileSync(at("bad.json"), '{\n  "a": 1,\n  "b": x\n}');
    expect(await formatErrorOf(readJson(at("bad.json")))).toBe(
      `${at("bad.json")}: malformed JSON at line 3, column 8: expected a value, got x`,
    );
    expect(await formatErrorOf(readJson(at("none.json")))).toBe(
      `${at("none.json")}: no such file; check the path`,
    );
    expect(await formatErrorOf(readJson(folder))).toContain("got a folder");
  });

  it.each([
    ["", 0, "expected a value, the text ends"],
    ['{"a":1', 6, "expected a comma or }, the text ends"],
    ["[1,]", 3, "expected a value, got ]"],
    ['{"a":1,}', 7, "expected a key, got }"],
    ["{a:1}", 1, "expected a key or }, got a:1}"],
    ["[1 2]", 3, "expected a comma or ], got 2]"],
    ["[1}", 2, "expected a comma or ], got }"],
    ["{} {}", 3, "expected nothing more, got {}"],
    ['"a\nb"', 0, 'expected a value, got an unfinished or malformed string "a'],
    ["01", 1, "expected nothing more, got 1"],
    ["NaN", 0, "expected a value, got NaN"],
    ['["a\\q"]', 1, 'expected a value or ], got an unfinished or malformed string "a\\q"]'],
  ])("finds the error in %j", (text, position, problem) => {
    expect(findJsonError(text)).toEqual({ position, problem });
  });

  it("agrees with JSON.parse on what is JSON", () => {
    const scraps = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"\\u00e9"',
      "1",
      "-2.5e3",
      "true",
      "null",
      " ",
      "\n",
      "x",
      '"',
    );
    const text = fc.oneof(
      fc.json(),
      fc.array(scraps, { maxLength: 12 }).map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(text, (json) => {
        const { position, problem } = findJsonError(json);
        const complete = position === json.length && problem.startsWith("expected nothing more");
        expect(complete).toBe(isJson(json));
      }),
      { numRuns: 2000 },
    );
  });

  it("keeps the point of whole numbers where readers want one", () => {
    const value = {
      top_p: 1,
      top_k: 0,
      temperature: -2,
      half: { top_p: 0.5 },
      list: [{ top_p: 3 }],
      text: '"top_p": 1,\n',
    };
    const text = jsonText(value, ["temperature", "top_p"]);
    expect(text.match(/-?\d[.\d]*/g)).toEqual(["1.0", "0", "-2.0", "0.5", "3.0", "1"]);
    expect(JSON.parse(text)).toEqual(value);
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isDevice(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isCharacterDevice() ?? false;
}
