/** `vbon align`: PPO toward the Best-of-N policy, its bounds, or a score with a KL penalty; or offline, from the cache alone. */
import { cacheWarnings } from "../../align/cache/cache.ts";
import type { AlignRun } from "../../align/loop.ts";
import { findObjective, findOffline } from "../../align/objectives/index.ts";
import { openRunFolder, type RunFolder, withRunFolder } from "../../train/run-folder.ts";
import { objectiveSettings, unreadFlags } from "../align/flags.ts";
import { runOffline } from "../align/offline.ts";
import { type Aim, prepareOnline } from "../align/prepare.ts";
import { nplus, vbonRelease } from "../align/presets.ts";
import { evaluationRecord, train } from "../align/run.ts";
import { ALIGN_CHANGEABLE, type AlignFlags, alignSchema } from "../align/schema.ts";
import { evaluateOn, finishRun, openSubject, overlapWarnings } from "../align/subject.ts";
import { checkSameData } from "../train/run.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";

/** A run folder; on stdout, the evaluation at the end. */
export const align: AnyVerb = defineVerb({
  name: "align",
  summary: "align a model with variational Best-of-N (or its bounds, KL-regularised PPO, DPO and its kin)",
  schema: alignSchema,
  changeableOnResume: ALIGN_CHANGEABLE,
  presets: { nplus, "vbon-release": vbonRelease },
  examples: [
    {
      does: "toward Best-of-8, evaluated on other prompts at the end",
      line: "vbon align --policy runs/stories/model --reward lexicon:vader --cache train.jsonl --eval-cache test.jsonl --n 8 --out runs/aligned",
    },
    {
      does: "DPO on the best and the worst of every 8 cached responses; nothing is sampled",
      line: "vbon align --method dpo --policy runs/stories/model --reward lexicon:vader --cache train.jsonl --n 8 --out runs/dpo",
    },
    { does: "continue after a stop or a crash", line: "vbon align --resume --out runs/aligned" },
  ],
  run,
});

async function run(flags: AlignFlags, io: Io): Promise<void> {
  await withRunFolder(flags.out, flags.resume, async () => {
    const unread = unreadFlags(flags);
    if (unread.length > 0) io.note(`warning: ${flags.method} does not read ${unread.join(", ")}`);
    const offline = findOffline(flags.method);
    await (offline ? runOffline(offline, flags, io) : runOnline(flags, io));
  });
}

async function runOnline(flags: AlignFlags, io: Io): Promise<void> {
  const settings = objectiveSettings(flags);
  const device = await io.device();
  const subject = await openSubject(device, flags, settings.n);
  const aim = { ...subject, objective: findObjective(flags.method), settings };
  for (const warning of warningsOf(aim)) io.note(`warning: ${warning}`);
  const aligning = await prepareOnline(aim, flags);
  io.note(
    `${aligning.iterations} iterations of ${flags.rollout} responses; ${mebibytes(device.bytesAllocated)} at most on ${device.name}`,
  );
  const { tensors, optimizers } = aligning;
  const folder = await openRunFolder(
    flags.out,
    { ...flags, resume: false },
    { tensors, optimizers },
    flags.resume,
  );
  try {
    await trainAndFinish(aligning, aim, folder, flags, io);
  } finally {
    await folder.close();
    aligning.dispose();
    subject.reference.dispose();
  }
}

function warningsOf(aim: Aim): string[] {
  const { task, objective, settings } = aim;
  return [...(objective.needsCache ? cacheWarnings(task.cache, settings.n) : []), ...overlapWarnings(aim)];
}

async function trainAndFinish(
  aligning: AlignRun,
  aim: Aim,
  folder: RunFolder,
  flags: AlignFlags,
  io: Io,
): Promise<void> {
  const { task, test, objective, settings } = aim;
  checkSameData(folder, task.hash);
  const evaluate = test && (() => evaluateOn(test, aligning, aim, flags, io));
  const rewardFailed = aim.watched.failed;
  const at = await train(
    { run: aligning, folder, task, objective, settings, flags, evaluate, rewardFailed },
    io,
  );
  if (at.step < aligning.iterations) {
    return io.note(
      `stopped after iteration ${at.step} of ${aligning.iterations}; continue with: vbon align --resume --out ${flags.out}`,
    );
  }
  aligning.finish();
  const began = performance.now();
  const measured = await evaluate?.();
  const seconds = {
    training: at.seconds,
    ...(measured && { evaluation: (performance.now() - began) / 1000 }),
  };
  if (measured) await folder.metrics.write(evaluationRecord(at.step, measured));
  const amount = { episodes: aligning.iterations * flags.rollout };
  const record = { iterations: at.step };
  await finishRun({ policy: aligning.policy, measured, seconds, amount, record }, aim, flags, io);
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
