/** `vbon tune`: finds the fastest variant and tunables for classes of shapes, and remembers them for this adapter. */
import { z } from "zod";
import { PRODUCTS } from "../../bench/models.ts";
import { type Found, type ProductShape, tuneClass, tuneTasks } from "../../bench/tune.ts";
import { ensureFolder, removeFile, writeFileAtomic } from "../../data/files.ts";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import { merge, readTuneFile, type TuneTable, tuneFile } from "../../gpu/tune.ts";
import { needHalves } from "../../ops/cast.ts";
import { formatTable } from "../../report/console-table.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";

const schema = z.strictObject({
  shapes: z.string().optional().meta({
    description:
      "products to tune for, M x N x K (default: the layers of small GPTs, as `vbon bench matmul`)",
    hint: "MxNxK[,…]",
  }),
  dtype: z.enum(["f32", "f16"]).optional().meta({
    description:
      "their operands; f16 is what mixed precision multiplies (default: f32, and f16 where there are matrix units)",
  }),
  rounds: z.number().int().min(1).default(9).meta({ description: "turns of every candidate" }),
  out: z
    .string()
    .optional()
    .meta({ description: "write what was found there too, as a table that can ship", hint: "FILE.json" }),
  list: z.boolean().default(false).meta({ description: "only show what holds on this adapter" }),
  forget: z.boolean().default(false).meta({ description: "remove what was remembered, for every adapter" }),
});

type Config = z.output<typeof schema>;

/** What was found is kept after every class; another run replaces what it finds anew. */
export const tune: AnyVerb = defineVerb({
  name: "tune",
  summary: "find the fastest kernels for this adapter and remember them (VBON_TUNE=off ignores that)",
  schema,
  examples: [
    { does: "the layers of small GPTs", line: "vbon tune" },
    {
      does: "a model of yours: 2,048 tokens, 768 wide",
      line: "vbon tune --shapes 2048x768x768,2048x3072x768,2048x768x3072",
    },
    {
      does: "the products of its mixed precision",
      line: "vbon tune --dtype f16 --shapes 2048x768x768,2048x3072x768,2048x768x3072",
    },
    { does: "what holds here", line: "vbon tune --list" },
  ],
  async run(config, io) {
    const file = tuneFile();
    if (file === undefined) throw new ConfigError("vbon tune: there is no cache folder here");
    if (config.forget) {
      await removeFile(file);
      return io.result({ forgotten: file }, `removed ${file}`);
    }
    const device = await io.device();
    if (config.list) return io.result({ adapter: device.tuningKey, tuning: device.tuning }, listText(device));
    await search(device, file, config, io);
  },
});

async function search(device: Device, file: string, config: Config, io: Io): Promise<void> {
  const shapes = config.shapes === undefined ? PRODUCTS : parseShapes(config.shapes);
  const tasks = tuneTasks(shapes, dtypesFor(device, config));
  const progress = io.progress({ label: "tune", total: tasks.length, unit: "shapes" });
  const found: Found[] = [];
  for (const task of tasks) {
    if (io.signal.aborted) break;
    found.push(await tuneClass(device, task, { rounds: config.rounds, say: io.note }));
    await keep(file, device.tuningKey, found);
    progress.update(found.length);
  }
  progress.stop();
  if (config.out !== undefined)
    await writeFileAtomic(config.out, jsonOf({ [device.tuningKey]: tableOf(found) }));
  io.result(
    { adapter: device.tuningKey, found: found.map(({ task, ...rest }) => ({ ...task, ...rest })), file },
    `${foundText(found)}\n${device.tuningKey}\nremembered in ${file}`,
  );
}

/** @throws DeviceError where f16 is asked for and the device has none */
function dtypesFor(device: Device, { dtype }: Config): ("f32" | "f16")[] {
  if (dtype === undefined) return device.has("matrix") ? ["f32", "f16"] : ["f32"];
  if (dtype === "f16") needHalves(device);
  return [dtype];
}

/** Classes where something was found; the others are named too, empty, so that an older finding goes. */
const tableOf = (found: readonly Found[]): TuneTable =>
  found.reduce<TuneTable>(
    (table, { task, tuning }) => merge(table, { [task.op]: { [task.class]: tuning ?? {} } }),
    {},
  );

async function keep(file: string, key: string, found: readonly Found[]): Promise<void> {
  const { adapters } = await readTuneFile(file);
  await ensureFolder(file.slice(0, Math.max(file.lastIndexOf("/"), file.lastIndexOf("\\"))));
  await writeFileAtomic(file, jsonOf({ ...adapters, [key]: merge(adapters[key], tableOf(found)) }));
}

const jsonOf = (adapters: Readonly<Record<string, TuneTable>>): string =>
  `${JSON.stringify({ version: 1, adapters }, null, 2)}\n`;

/** @throws ConfigError for what is no shape */
function parseShapes(list: string): ProductShape[] {
  return list.split(",").map((text) => {
    const shape = text.split("x").map(Number);
    if (shape.length !== 3 || shape.some((n) => !Number.isInteger(n) || n < 1))
      throw new ConfigError(`vbon tune: --shapes ${text}: expected M x N x K, as 2048x768x768`);
    return shape as unknown as ProductShape;
  });
}

const settingText = (tuning: object | undefined): string =>
  Object.entries(tuning ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

function foundText(found: readonly Found[]): string {
  return formatTable(found, [
    { title: "class", value: ({ task }) => task.class },
    { title: "tried on", value: ({ task }) => task.shape.join("x") },
    { title: "candidates", value: ({ tried }) => tried },
    { title: "ms", value: ({ ms }) => ms, digits: 3 },
    { title: "best / own", value: ({ ratio }) => ratio, digits: 3 },
    { title: "kept", value: ({ tuning }) => settingText(tuning) || "the op's own choice" },
  ]);
}

function listText({ tuning, tuningKey }: Device): string {
  const rows = Object.entries(tuning).flatMap(([op, classes]) =>
    Object.entries(classes).map(([name, settings]) => ({
      op,
      name,
      settings: settingText(settings) || "the op's own choice",
    })),
  );
  const table = rows.length === 0 ? "nothing was tuned: every op makes its own choice" : formatTable(rows, [
    { title: "op", value: (row) => row.op },
    { title: "class", value: (row) => row.name },
    { title: "kept", value: (row) => row.settings },
  ]); // prettier-ignore
  return `${tuningKey}\n${table}`;
}
