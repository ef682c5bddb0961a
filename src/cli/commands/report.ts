/** `vbon report`: a run or a sweep as one self-contained page. */
import { join } from "node:path";
import { z } from "zod";
import { exists, writeFileAtomic } from "../../data/files.ts";
import { ConfigError } from "../../errors.ts";
import { runPage } from "../report/run.ts";
import { sweepPage } from "../report/sweep.ts";
import { type AnyVerb, defineVerb, namesField } from "../verb.ts";

const schema = z.strictObject({
  names: namesField("the folder of a run (`vbon align`) or of a sweep (`vbon sweep`)").meta({
    positional: true,
    hint: "DIR",
  }),
  out: z
    .string()
    .optional()
    .meta({ description: "the page (default: report.html in DIR)", hint: "FILE.html" }),
});

/** One HTML file: figures, tables, numbers to download; no device is opened. */
export const report: AnyVerb = defineVerb({
  name: "report",
  summary: "draw a run or a sweep: the paper's figures and tables of your own data, in one HTML file",
  schema,
  examples: [
    { does: "one run", line: "vbon report runs/aligned" },
    { does: "a sweep, also while it runs", line: "vbon report runs/fig2" },
  ],
  async run(config, io) {
    const [folder, ...more] = config.names;
    if (folder === undefined || more.length > 0)
      throw new ConfigError(`vbon report: expected one folder, got ${config.names.length}`);
    const path = config.out ?? join(folder, "report.html");
    await writeFileAtomic(path, await pageOf(folder));
    io.result({ report: path }, path);
  },
});

async function pageOf(folder: string): Promise<string> {
  if (await exists(join(folder, "points.json"))) return sweepPage(folder);
  if (await exists(join(folder, "config.json"))) return runPage(folder);
  throw new ConfigError(
    `vbon report: ${folder} is neither a run (config.json) nor a sweep with results (points.json); check the path`,
  );
}
