/** `--plan` of commands that train: what the run would take of GPU memory, in place of the run. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { Parameters } from "../../nn/parameters.ts";
import { hasHalves } from "../../ops/cast.ts";
import type { Carried } from "../../train/checkpoint.ts";
import type { ComputingFlags, TrainingFlags } from "../flags/training.ts";
import { fewerTrained, fitsInto, type WeightFlags, whatHelps } from "../plan/advice.ts";
import { onPaper, type Planned, readLargest } from "../plan/paper.ts";
import { limitOf, memoryField, planRecord, planText } from "../plan/text.ts";
import type { Io, Outcome } from "../verb.ts";

interface PlanFields {
  readonly plan: z.ZodDefault<z.ZodBoolean>;
  readonly memory: z.ZodOptional<z.ZodNumber>;
}

/** `--plan --memory`. */
export const planFields: PlanFields = {
  plan: z.boolean().default(false).meta({
    description:
      "do not train: say what this run would take of GPU memory, whether that fits, and what to change if not; nothing is written",
    heading: "Whether it fits",
  }),
  memory: memoryField,
};

/** @throws ConfigError for --memory where nothing is planned */
export function checkPlan({
  plan,
  memory,
}: {
  readonly plan: boolean;
  readonly memory?: number | undefined;
}): void {
  if (memory !== undefined && !plan)
    throw new ConfigError(`--memory ${memory} says what --plan is to fit into; expected --plan beside it`);
}

/** A run's settings as its folder keeps them: how it was planned is none of them. */
export function keptSettings<C extends { plan: boolean; memory?: number | undefined }>(
  config: C,
): Omit<C, "plan" | "memory"> & { resume: false } {
  const { plan: _, memory: __, ...kept } = config;
  return { ...kept, resume: false };
}

/** The flags that change what training takes. */
interface PlannedFlags extends ComputingFlags, WeightFlags, Pick<TrainingFlags, "batch" | "accumulate"> {
  readonly model?: string | undefined;
  readonly memory?: number | undefined;
}

/** A run as far as its first step. */
export interface Rehearsal {
  readonly parameters: Parameters;
  readonly carried: Carried;
  /** "2,000 sequences of up to 256 tokens" */
  readonly what: string;
}

/**
 * Says what a run takes; exit code 1 where it does not fit.
 * @param rehearse prepares the run as the command does, on a device that allocates nothing
 */
export async function planTraining<C extends PlannedFlags>(
  verb: string,
  config: C,
  io: Io,
  rehearse: (paper: Device, config: C) => Promise<Rehearsal>,
): Promise<Outcome> {
  const device = await io.device();
  let asked: Rehearsal | undefined;
  const estimate = (changes: Partial<PlannedFlags>): Promise<Planned> =>
    onPaper(device, async (paper) => {
      const rehearsal = await rehearse(paper, { ...config, ...changes });
      asked ??= rehearsal;
      const { parameters, carried } = rehearsal;
      const weights = [...parameters, ...(parameters.base?.parameters ?? [])].map(([, tensor]) => tensor);
      await readLargest([...carried.tensors.values(), ...weights]);
    });
  const planned = await estimate({});
  const limit = limitOf(device, config.memory);
  const fits = fitsInto(planned, limit);
  const help = fits
    ? []
    : await whatHelps(candidates(config, device), estimate, { limit, total: planned.total });
  const { batch, accumulate } = config;
  const parameters = asked?.parameters.count;
  const what = asked ? `, ${parameters} parameters, --batch ${batch}, ${asked.what}` : "";
  const shown = { headline: `vbon ${verb}${what}`, planned, limit, remarks: [], help };
  const sizes = { parameters, batch, accumulate };
  io.result({ adapter: device.name, ...sizes, ...planRecord(shown) }, planText(shown, device));
  return fits ? undefined : "failed";
}

/** Changes in the order of what they cost: nothing but time, then accuracy, then what is learned. */
function candidates(flags: PlannedFlags, device: Device): Partial<PlannedFlags>[] {
  const { batch, accumulate, gradientCheckpointing, precision } = flags;
  // The same items a step, in more passes.
  const passes = [2, 8, batch].filter((parts) => parts <= batch && batch % parts === 0 && parts > 1);
  return [
    ...[...new Set(passes)].map((parts) => ({ batch: batch / parts, accumulate: accumulate * parts })),
    ...(gradientCheckpointing ? [] : [{ gradientCheckpointing: true }]),
    ...(precision === "f32" && hasHalves(device) ? [{ precision: "mixed" } as const] : []),
    ...(flags.model === undefined ? [] : fewerTrained(flags)),
  ];
}
