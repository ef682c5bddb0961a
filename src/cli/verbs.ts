/** Every command, loaded when it is asked for. To add one: its file in `commands/`, and a line here. */
import type { AnyVerb } from "./verb.ts";

/** By name, in the order of the help. */
export const verbs: Readonly<Record<string, () => Promise<AnyVerb>>> = {
  demo: async () => (await import("./commands/demo.ts")).demo,
  doctor: async () => (await import("./commands/doctor.ts")).doctor,
  sft: async () => (await import("./commands/sft.ts")).sft,
  reward: async () => (await import("./commands/reward.ts")).reward,
  score: async () => (await import("./commands/score.ts")).score,
  generate: async () => (await import("./commands/generate.ts")).generate,
  chat: async () => (await import("./commands/chat.ts")).chat,
  cache: async () => (await import("./commands/cache.ts")).cache,
  align: async () => (await import("./commands/align.ts")).align,
  plan: async () => (await import("./commands/plan.ts")).plan,
  evaluate: async () => (await import("./commands/evaluate.ts")).evaluate,
  average: async () => (await import("./commands/average.ts")).average,
  export: async () => (await import("./commands/export.ts")).exportModel,
  sweep: async () => (await import("./commands/sweep.ts")).sweep,
  report: async () => (await import("./commands/report.ts")).report,
  analyse: async () => (await import("./commands/analyse.ts")).analyse,
  tune: async () => (await import("./commands/tune.ts")).tune,
  profile: async () => (await import("./commands/profile.ts")).profile,
  bench: async () => (await import("./commands/bench.ts")).bench,
};
