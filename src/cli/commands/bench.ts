/** `vbon bench`: kernels, steps and decoding, checked and then timed. */
import { z } from "zod";
import { checkOp, worstText } from "../../bench/check.ts";
import { measureCeilings } from "../../bench/ceiling.ts";
import { compare, comparisonText, readEarlier } from "../../bench/compare.ts";
import type { Plan } from "../../bench/job.ts";
import { type Line, measure } from "../../bench/measure.ts";
import { choosePlans, groups } from "../../bench/registry.ts";
import { heading, lineText, machineOf } from "../../bench/report.ts";
import { measureSteady, STEADY_RUN, steadyText } from "../../bench/steady.ts";
import { loadUserKernel, type UserKernel } from "../../bench/user-kernel.ts";
import { writeFileAtomic } from "../../data/files.ts";
import { ConfigError, messageOf } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { AnyOp } from "../../tensor/op.ts";
import { type AnyVerb, defineVerb, type Io, namesField } from "../verb.ts";
import { version } from "../version.ts";

const schema = z.strictObject({
  names: namesField(
    `groups (${Object.keys(groups).join(", ")}) or parts of names; without any, all of them. "steady": 1,000 training steps, whether they stay as fast`,
  ),
  time: z.number().positive().default(500).meta({ description: "milliseconds to time each for", hint: "MS" }),
  compare: z.string().optional().meta({
    description: "earlier results: print ratios, exit with 1 where something became slower",
    hint: "FILE",
  }),
  tolerance: z
    .number()
    .min(0)
    .default(15)
    .meta({ description: "how much slower is still no regression", hint: "PERCENT" }),
  out: z.string().optional().meta({ description: "write the results, for --compare", hint: "FILE" }),
  kernel: z.string().optional().meta({
    description: "check and time an op of yours instead: a module that exports op and bench",
    hint: "FILE.mjs",
  }),
  check: z
    .boolean()
    .default(false)
    .meta({ description: "with --kernel: only check it against its reference, every case and variant" }),
});

/** Only when it is asked for: it takes minutes. */
const STEADY = "steady";

type Config = z.output<typeof schema>;

/** The command: exit code 1 when a result is wrong, or slower than before by more than is tolerated. */
export const bench: AnyVerb = defineVerb({
  name: "bench",
  summary: "check kernels, training steps and decoding against references, then time them",
  schema,
  examples: [
    { does: "every matrix product, and one layer of attention", line: 'vbon bench matmul "attention B32"' },
    { does: "before a change", line: "vbon bench --out before.jsonl" },
    { does: "and after it", line: "vbon bench --compare before.jsonl" },
    { does: "a kernel of yours", line: "vbon bench --kernel examples/my-kernel.mjs" },
  ],
  run,
});

async function run(config: Config, io: Io): Promise<"failed" | void> {
  const user = await userKernel(config);
  const plans = user?.plans ?? plansOf(config);
  const earlier = config.compare === undefined ? undefined : await readEarlier(config.compare);
  const device = await io.device();
  if (user && !(await conforms(device, user.op, io))) return "failed";
  if (config.check) return undefined;
  const ceilings = await measureCeilings(device);
  const machine = { vbon: await version(), ...machineOf(device, ceilings) };
  io.result(machine, heading(machine));
  if (earlier && earlier.adapter !== machine.adapter)
    io.note(
      `bench: ${config.compare} was measured on another adapter (${earlier.adapter}): ratios mean little`,
    );
  const written: object[] = [machine];
  let failed = 0;
  for (const plan of plans) {
    if (io.signal.aborted) break;
    if (plan.runs?.(device) === false) continue;
    const line = await attempt(device, plan, { time: config.time, ceilings }, io);
    if (!line) failed++;
    if (!line) continue;
    const against = earlier && compare(line, earlier, config.tolerance);
    if (against?.regressed) failed++;
    written.push(line);
    const text = against ? `${lineText(line)}   ${comparisonText(against)}` : lineText(line);
    io.result({ ...line, ...(against && { against }) }, text);
  }
  if (config.names.includes(STEADY) && !(await steady(device, io))) failed++;
  if (config.out !== undefined)
    await writeFileAtomic(config.out, written.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return failed > 0 ? "failed" : undefined;
}

const plansOf = ({ names }: Config): readonly Plan[] =>
  names.join() === STEADY ? [] : choosePlans(names.filter((name) => name !== STEADY));

/** @throws ConfigError for --kernel beside names, or --check without it */
async function userKernel({ kernel, check, names }: Config): Promise<UserKernel | undefined> {
  if (kernel === undefined && !check) return undefined;
  if (kernel === undefined)
    throw new ConfigError(
      "vbon bench: --check checks a kernel of yours; expected --kernel FILE.mjs beside it",
    );
  if (names.length > 0)
    throw new ConfigError(`vbon bench: --kernel is timed alone; leave out ${names.join(", ")}`);
  return loadUserKernel(kernel);
}

/** Whether an op agrees with its reference in every case; says each. */
async function conforms(device: Device, op: AnyOp, io: Io): Promise<boolean> {
  let all = true;
  for await (const { name, worst, right } of checkOp(device, op)) {
    all &&= right;
    const wrong = [...worst].filter(([, { error, tolerance }]) => !(error <= tolerance));
    const largest = Math.max(...[...worst.values()].map(({ error }) => error));
    const text = right
      ? `right, error ${largest.toExponential(1)}`
      : wrong.map(([what, w]) => worstText(what, w)).join("\n  ");
    io.result({ check: name, right, worst: Object.fromEntries(worst) }, `${op.name} ${name}: ${text}`);
  }
  return all;
}

/** A long run; false when it does not stay as it began. */
async function steady(device: Device, io: Io): Promise<boolean> {
  const progress = io.progress({ label: STEADY, total: STEADY_RUN.steps, unit: "steps" });
  const measured = await measureSteady(device, STEADY_RUN, (done) => progress.update(done));
  progress.stop();
  io.result({ name: STEADY, ...measured }, steadyText(measured));
  return measured.problems.length === 0;
}

/** A wrong or broken job fails alone; the others go on. */
async function attempt(
  device: Device,
  plan: Plan,
  how: Parameters<typeof measure>[3],
  io: Io,
): Promise<Line | undefined> {
  try {
    const job = await plan.make(device);
    try {
      return await measure(device, plan.name, job, how);
    } finally {
      job.dispose();
    }
  } catch (error) {
    io.note(`bench: ${plan.name} failed: ${messageOf(error)}`);
    return undefined;
  }
}
