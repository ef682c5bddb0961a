/** `vbon export`: a language model as one file, for llama.cpp and what is built on it. */
import { z } from "zod";
import { saveGguf } from "../../../models/gguf.ts";
import { exists } from "../../data/files.ts";
import { ConfigError } from "../../errors.ts";
import { adapterField } from "../flags/lora.ts";
import { openLanguageModel, tokenizerField } from "../open.ts";
import { saveDtype } from "../flags/training.ts";
import { type AnyVerb, defineVerb } from "../verb.ts";

const schema = z.strictObject({
  model: z.string().meta({
    description: "a language model: a folder, its name on the hub, or a .bin file of llama2.c",
    hint: "DIR",
  }),
  tokenizer: tokenizerField,
  adapter: adapterField,
  out: z.string().meta({ description: "the file", hint: "FILE.gguf" }),
  dtype: z.enum(["f32", "f16", "bf16"]).default("f32").meta({
    description: "of its matrices; vectors, and tables of positions, stay f32",
  }),
});

/** A file; on stdout its path. */
export const exportModel: AnyVerb = defineVerb({
  name: "export",
  summary: "write a language model as GGUF, for llama.cpp, Ollama, LM Studio",
  schema,
  examples: [
    {
      does: "the aligned model of a run, in half the room",
      line: "vbon export --model runs/vbon/model --out vbon.gguf --dtype f16",
    },
  ],
  async run({ model, out, dtype, adapter, tokenizer }, io) {
    if (!out.endsWith(".gguf")) throw new ConfigError(`--out ${out}: expected a file named *.gguf`);
    if (await exists(out)) throw new ConfigError(`--out ${out}: there is a file already; expected a new one`);
    const opened = await openLanguageModel(
      await io.device(),
      model,
      { trainable: false },
      adapter,
      tokenizer,
    );
    const { name } = opened;
    await saveGguf(out, opened.model, opened.tokenizer, { dtype: saveDtype(dtype), name });
    io.result({ out, dtype }, out);
    opened.dispose();
  },
});
