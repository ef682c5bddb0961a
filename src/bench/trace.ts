/** A profile as a trace that Perfetto and Chrome's tracing page open. */
import type { Profile } from "./profile.ts";

/** The calls of one step on one track, programs after each other ("Trace Event Format", complete events). */
export function traceOf(title: string, { timeline, by }: Profile): object {
  const programs = [...new Set(timeline.map(({ program }) => program))];
  let origin = 0;
  const events = programs.flatMap((name) => {
    const calls = timeline.filter(({ program }) => program === name);
    const from = origin;
    origin += Math.max(0, ...calls.map(({ start, ms }) => start + ms));
    return calls.map(({ kernel, variant, shape, flops, bytes, start, ms }) => ({
      name: kernel,
      cat: name,
      ph: "X",
      pid: 1,
      tid: 1,
      ts: 1000 * (from + start), // microseconds
      dur: 1000 * ms,
      args: { shape, variant, flops, bytes, "GFLOP/s": ms > 0 ? flops / ms / 1e6 : 0 },
    }));
  });
  const named = (what: string, name: string): object => ({
    name: what,
    ph: "M",
    pid: 1,
    tid: 1,
    args: { name },
  });
  return {
    displayTimeUnit: "ms",
    otherData: { title, timed: by },
    traceEvents: [named("process_name", `vbon: ${title}`), named("thread_name", "GPU"), ...events],
  };
}
