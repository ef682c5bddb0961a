/** `vbon profile`: where the time of a training or decoding step goes, kernel by kernel. */
import { z } from "zod";
import { loadModel } from "../../../models/load.ts";
import { type Ceilings, measureCeilings } from "../../bench/ceiling.ts";
import { type KernelRow, profile as takeProfile, type Profile } from "../../bench/profile.ts";
import { type Machine, machineOf } from "../../bench/report.ts";
import { traceOf } from "../../bench/trace.ts";
import { decodeWorkload, type Opened, stepWorkload } from "../../bench/workloads.ts";
import { writeFileAtomic } from "../../data/files.ts";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import { rooflineChart } from "../../report/charts.ts";
import { formatTable, type TableColumn } from "../../report/console-table.ts";
import { percent } from "../../report/format.ts";
import { type AnyVerb, defineVerb } from "../verb.ts";

const KINDS = { step: stepWorkload, decode: decodeWorkload } as const;

const schema = z.strictObject({
  what: z
    .array(z.enum(["step", "decode"]))
    .default(["step"])
    .meta({ positional: true, hint: "step|decode", description: "a training step, or a decoding step" }),
  model: z.string().optional().meta({ description: "a model's folder", hint: "DIR" }),
  size: z.enum(["tiny", "small", "stories", "gpt2"]).default("small").meta({
    description:
      "without --model, random weights: a GPT of 4 layers, 128 wide; of 6 layers, 384 wide; stories260K's sizes; GPT-2 small's",
  }),
  precision: z
    .enum(["f32", "mixed"])
    .default("f32")
    .meta({ description: "of a training step: mixed multiplies in f16" }),
  batch: z.number().int().positive().optional().meta({ description: "rows (default: the model's usual)" }),
  length: z
    .number()
    .int()
    .min(2)
    .optional()
    .meta({ description: "tokens a row (default: the model's usual)" }),
  runs: z.number().int().positive().default(3).meta({ description: "steps to profile: times are medians" }),
  alone: z
    .boolean()
    .default(false)
    .meta({ description: "time each call alone, also where the adapter has timestamps" }),
  trace: z.string().optional().meta({ description: "a trace for Perfetto or Chrome", hint: "FILE.json" }),
  svg: z.string().optional().meta({ description: "the roofline, drawn", hint: "FILE.svg" }),
});

type Config = z.output<typeof schema>;

/** The command: a table on stdout, one object under `--json`. */
export const profile: AnyVerb = defineVerb({
  name: "profile",
  summary: "take a training or decoding step apart: kernels, shapes, times, share of the roofline",
  schema,
  examples: [
    { does: "a training step of a small GPT", line: "vbon profile step --size small --svg roofline.svg" },
    {
      does: "decoding with a model of yours",
      line: "vbon profile decode --model runs/mine/model --batch 256",
    },
  ],
  async run(config, io) {
    const [kind, more] = config.what;
    if (!kind || more) throw new ConfigError("vbon profile: expected one of step, decode");
    if (kind === "decode" && config.precision === "mixed")
      throw new ConfigError("vbon profile: --precision mixed is of training steps; decoding computes in f32");
    const device = await io.device();
    const workload = await open(device, kind, config);
    const ceilings = await measureCeilings(device);
    const taken = await takeProfile(device, workload, ceilings, config);
    workload.dispose();
    const machine = machineOf(device, ceilings);
    const { timeline: _, rows, ...totals } = taken;
    const record = { title: workload.title, ...machine, ...totals, rows };
    io.result(record, [headOf(workload, taken, machine), tableOf(rows), FOOT].join("\n"));
    if (config.trace !== undefined)
      await writeFileAtomic(config.trace, JSON.stringify(traceOf(workload.title, taken)));
    if (config.svg !== undefined) await writeFileAtomic(config.svg, await drawn(workload, rows, ceilings));
  },
});

async function open(device: Device, kind: keyof typeof KINDS, config: Config): Promise<Opened> {
  const batch = { B: config.batch, T: config.length, precision: config.precision };
  const model =
    config.model === undefined
      ? config.size
      : await loadModel(device, config.model, { trainable: kind === "step" });
  return KINDS[kind](device, model, batch);
}

function headOf(
  { title, tokens }: Opened,
  { by, kernelMs, wallMs, hostMs, dispatches }: Profile,
  { adapter, ceilings, date }: Machine,
): string {
  const host = hostMs === undefined ? "" : `, host ${ms(hostMs)} (${percent(hostMs / wallMs, 0)})`;
  const how = by === "timestamps" ? "timed in place by timestamps" : "each call timed alone, in a row";
  return [
    `${title}; ${adapter}; ${date}`,
    `${ms(wallMs)} a step (${((1000 * tokens) / wallMs).toFixed(0)} tokens/s)${host}; ${dispatches} kernel calls take ${ms(kernelMs)}, ${how}`,
    `ceilings: ${ceilings.gflops.wall.toPrecision(3)} GFLOP/s multiply-add, ${ceilings.gbs.wall.toPrecision(3)} GB/s copy`,
    "",
  ].join("\n");
}

const ms = (time: number): string => `${time.toPrecision(3)} ms`;

const COLUMNS: readonly TableColumn<KernelRow>[] = [
  { title: "kernel", value: ({ kernel }) => kernel },
  { title: "shape", value: ({ shape }) => shape, maxWidth: 44 },
  { title: "calls", value: ({ calls }) => calls },
  { title: "ms", value: ({ ms: time }) => time, digits: 3 },
  { title: "part", align: "right", value: ({ part }) => percent(part) },
  { title: "MFLOP", value: ({ flops }) => flops / 1e6, digits: 1 },
  { title: "MB", value: ({ bytes }) => bytes / 1e6, digits: 2 },
  { title: "GFLOP/s", value: ({ flops, ms: time }) => flops / time / 1e6, digits: 1 },
  { title: "GB/s", value: ({ bytes, ms: time }) => bytes / time / 1e6, digits: 2 },
  { title: "roof", align: "right", value: ({ roofline }) => percent(roofline, 0) },
  { title: "limit", value: ({ limit }) => limit },
  { title: "variant", value: ({ variant }) => variant, maxWidth: 60 },
];

const tableOf = (rows: readonly KernelRow[]): string =>
  formatTable(rows, COLUMNS, { width: Math.max(120, process.stdout.columns ?? 220) });

const FOOT =
  "roof: the least time that arithmetic or memory allow at the measured ceilings, over the time taken; MB: all that is bound";

function drawn({ title }: Opened, rows: readonly KernelRow[], { gflops, gbs }: Ceilings): Promise<string> {
  const points = rows.map(({ kernel, flops, bytes, ms: time }) => ({ name: kernel, flops, bytes, ms: time }));
  return rooflineChart(title, points, { gflops: gflops.wall, gbs: gbs.wall });
}
