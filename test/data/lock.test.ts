/** Locks: one writer at a time, and none of a dead process stands in anybody's way. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Lock, takeLock, withFolder } from "../../src/data/lock.ts";
import { ConfigError, FormatError } from "../../src/errors.ts";
import { temporaryFolder } from "./support.ts";

const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
const take = (name: string): Promise<Lock> => takeLock(at(name), "the cache", "choose another name");

/** A lock as another process leaves it. */
function left(name: string, holder: object | string): string {
  writeFileSync(at(name), typeof holder === "string" ? holder : JSON.stringify(holder));
  return name;
}

describe("a lock", () => {
  it("is had once, names its process, and is gone when it is released", async () => {
    const lock = await take("once");
    expect(JSON.parse(readFileSync(at("once"), "utf8"))).toMatchObject({
      pid: process.pid,
      host: hostname(),
    });
    await expect(take("once")).rejects.toThrow(
      "the cache: is in use by this process already; wait for it, or choose another name",
    );
    await lock.release();
    expect(existsSync(at("once"))).toBe(false);
    await (await take("once")).release();
  });

  it("of a living process is refused in one line", async () => {
    const name = left("alive", { pid: process.ppid, host: hostname(), id: "other" });
    const refused = take(name);
    await expect(refused).rejects.toThrow(
      `the cache: is in use by process ${process.ppid} on this machine; wait for it, or choose another name`,
    );
    await expect(refused).rejects.toThrow(ConfigError);
    expect(existsSync(at(name))).toBe(true);
  });

  it("of another machine counts, and says how to get rid of it", async () => {
    const name = left("far", { pid: 1, host: "elsewhere", id: "other" });
    await expect(take(name)).rejects.toThrow(
      `by process 1 on elsewhere; if that is gone, delete ${at(name)}; wait`,
    );
  });

  it.each([
    ["a process that is no more", () => ({ pid: spawnSync("true").pid, host: hostname(), id: "other" })],
    [
      "a dead process of our own number, as in containers",
      () => ({ pid: process.pid, host: hostname(), id: "x" }),
    ],
    ["nobody: its making was cut short", () => ""],
  ])("of %s is taken over", async (what, holder) => {
    const name = left(what.slice(0, 12), holder());
    const lock = await take(name);
    await expect(take(name)).rejects.toThrow("in use");
    await lock.release();
    expect(readdirSync(folder).filter((file) => file.startsWith(name))).toEqual([]);
  });

  it.skipIf(process.platform !== "linux")(
    "of a killed process that nobody has asked for is taken over",
    async () => {
      const parent = spawn("sh", ["-c", "sleep 0.3 & echo $!; exec sleep 60"], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      const [pid] = (await once(parent.stdout, "data")) as [Buffer];
      await expect.poll(() => readFileSync(`/proc/${Number(pid.toString())}/stat`, "utf8")).toContain(") Z ");
      const name = left("zombie", { pid: Number(pid.toString()), host: hostname(), id: "other" });
      await (await take(name)).release();
      parent.kill("SIGKILL");
    },
  );

  it("of a dead process goes to one of those that find it", async () => {
    const name = left("race", { pid: spawnSync("true").pid, host: hostname(), id: "other" });
    const takers = await Promise.allSettled(Array.from({ length: 8 }, () => take(name)));
    expect(takers.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });
});

describe("a folder of one's own", () => {
  it("is made for the work, and stays only where something was put into it", async () => {
    await withFolder(at("a/b/c"), async () => expect(readdirSync(at("a/b/c"))).toEqual([".lock"]));
    expect(existsSync(at("a"))).toBe(false);
    await expect(withFolder(at("a/b"), () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(existsSync(at("a"))).toBe(false);
    await withFolder(at("kept/x"), async () => writeFileSync(at("kept/x/file"), ""));
    expect(readdirSync(at("kept/x"))).toEqual(["file"]);
  });

  it("that cannot be made is refused before the work", async () => {
    writeFileSync(at("plain"), "");
    const refused = withFolder(at("plain/x"), () => Promise.reject(new Error("worked")));
    await expect(refused).rejects.toThrow("cannot make the folder (a file stands where a folder is wanted)");
    await expect(refused).rejects.toThrow(FormatError);
  });
});
