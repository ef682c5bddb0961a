/** `vbon export`: a file of GGUF from a folder, and refusals before anything is read or written. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../support/device.ts";
import { readGguf } from "../support/gguf-file.ts";
import { type Outcome, vbon } from "../support/run-cli.ts";
import { scratch } from "../support/training.ts";
import { tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = scratch();
const at = (name: string): string => join(folder, name);
afterAll(() => device.close());
beforeAll(() => tinyLm(device, at("model"), 1, 3));

const run = (...argv: string[]): Promise<Outcome> => vbon(device, ["export", ...argv]);

describe("vbon export", () => {
  it("writes the model with its tokenizer, and says where", async () => {
    const { code, stdout, stderr } = await run(
      "--model",
      at("model"),
      "--out",
      at("f16.gguf"),
      "--dtype",
      "f16",
    );
    expect(code, stderr).toBe(0);
    expect(stdout.trim()).toBe(at("f16.gguf"));
    const { metadata, tensors } = await readGguf(at("f16.gguf"));
    expect(metadata).toMatchObject({
      "general.architecture": "llama",
      "general.name": "model",
      "llama.block_count": 1,
    });
    expect(metadata["tokenizer.ggml.tokens"]).toHaveLength(tensors.get("token_embd.weight")!.shape[0]!);
    expect(tensors.get("token_embd.weight")!.dtype).toBe("F16");
  });

  it("is the same file each time, f32 unless told otherwise", async () => {
    for (const name of ["a.gguf", "b.gguf"])
      expect((await run("--model", at("model"), "--out", at(name))).code).toBe(0);
    expect(readFileSync(at("a.gguf")).equals(readFileSync(at("b.gguf")))).toBe(true);
    expect((await readGguf(at("a.gguf"))).tensors.get("token_embd.weight")!.dtype).toBe("F32");
  });

  it("refuses what it cannot do, and leaves nothing behind", async () => {
    const refused = async (...argv: string[]): Promise<string> => {
      const { code, stderr } = await run(...argv);
      expect(code, stderr).toBe(2);
      return stderr;
    };
    writeFileSync(at("taken.gguf"), "mine");
    expect(await refused("--model", at("model"), "--out", at("x.bin"))).toMatch(
      /expected a file named \*\.gguf/,
    );
    expect(await refused("--model", at("model"), "--out", at("taken.gguf"))).toMatch(
      /there is a file already/,
    );
    expect(readFileSync(at("taken.gguf"), "utf8")).toBe("mine");
    expect(await refused("--model", at("nowhere"), "--out", at("x.gguf"))).toMatch(/nowhere/);
    expect(await refused("--model", "checkpoints/movie-sentiment", "--out", at("x.gguf"))).toMatch(
      /expected a language model/,
    );
    await tinyLm(device, at("relu"), 1, 0, {
      model_type: "gpt2",
      n_embd: 16,
      n_head: 2,
      n_layer: 1,
      n_positions: 32,
      activation_function: "relu",
    });
    expect(await refused("--model", at("relu"), "--out", at("x.gguf"))).toMatch(/relu; expected a GELU/);
    expect(existsSync(at("x.gguf"))).toBe(false);
  });
});
