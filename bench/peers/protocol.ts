/**
 * A process that does one item's work, whatever language it is written in. It gets a {@link Task} as JSON in its last
 * argument, prepares and checks itself, and says `@{"ready": true, …}`; each line `go` on its stdin asks for one
 * round, answered by `@{"parts": […]}`. Lines of its stdout without the `@` are its own affair.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Work } from "./items.ts";

/** What a process is told. */
export interface Task {
  readonly work: Work;
  /** How this peer is to do it: device, precision, threads. */
  readonly setting: Readonly<Record<string, string | number | boolean>>;
  /** Least time of a round. */
  readonly seconds: number;
}

/** A measured part of the work: one matmul of many, or all of it. */
export interface Part {
  readonly name: string;
  /** Done in this time: 10^9 operations, tokens; 1 where the time itself is what counts. */
  readonly units: number;
  readonly seconds: number;
  /** Processor time of the whole process in it. */
  readonly cpu: number;
}

/** How to start one. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** One that is ready. */
export interface Worker {
  /** What it checked before it was timed. */
  readonly check: string;
  round(): Promise<readonly Part[]>;
  close(): void;
}

/** A peer that cannot do this: not installed, or it failed. The message is a line of the report. */
export class Skip extends Error {}

interface Answer {
  readonly ready?: true;
  readonly check?: string;
  readonly parts?: readonly Part[];
  readonly skip?: string;
  readonly error?: string;
}

/** Minutes without an answer after which a process is given up: jax-js compiles its first step for half a minute. */
const PATIENCE = 10 * 60_000;

/**
 * Starts a process and waits until it is ready.
 * @throws Skip when it cannot do the work
 */
export async function startWorker(launch: Launch, task: Task): Promise<Worker> {
  const env = { ...process.env, ...launch.env };
  for (const [key, value] of Object.entries(launch.env)) if (value === undefined) delete env[key];
  const child = spawn(launch.command, [...launch.args, JSON.stringify(task)], {
    env,
    stdio: ["pipe", "pipe", "pipe"],
  });
  const answers = answersOf(child);
  const close = (): void => void (child.stdin?.end(), child.kill("SIGKILL"));
  const ask = async (): Promise<Answer> => {
    const answer = await answers();
    if (answer.skip === undefined && answer.error === undefined) return answer;
    close();
    throw new Skip(answer.skip ?? `failed: ${answer.error}`);
  };
  process.once("exit", close); // a held process would not see that we are gone
  const { check = "" } = await ask();
  hold(child, true);
  return {
    check,
    close,
    async round() {
      hold(child, false);
      child.stdin?.write("go\n");
      const { parts = [] } = await ask();
      hold(child, true);
      return parts;
    },
  };
}

/** Stops a process between its turns: the threads of some peers spin while they wait (jax-js's took a core from ours). */
function hold(child: ChildProcess, held: boolean): void {
  if (process.platform !== "win32") child.kill(held ? "SIGSTOP" : "SIGCONT");
}

/** Answers one by one; the end of the process, and a silence of {@link PATIENCE}, are answers too. */
function answersOf(child: ChildProcess): () => Promise<Answer> {
  const waiting: ((answer: Answer) => void)[] = [];
  const come: Answer[] = [];
  let last = "";
  const give = (answer: Answer): void => {
    const next = waiting.shift();
    if (next) next(answer);
    else come.push(answer);
  };
  createInterface({ input: child.stdout! }).on("line", (line) => {
    if (line.startsWith("@")) give(JSON.parse(line.slice(1)) as Answer);
    else if (line.trim()) last = line;
  });
  createInterface({ input: child.stderr! }).on("line", (line) => {
    if (line.trim()) last = line;
  });
  child.on("error", (error) => give({ error: error.message }));
  child.on("close", (code) => give({ error: `ended with code ${code}: ${last}` }));
  child.stdin?.on("error", () => {}); // its end says more
  return () =>
    new Promise((resolve) => {
      const known = come.shift();
      if (known) return resolve(known);
      const silence = setTimeout(
        () => resolve({ error: `no answer in ${PATIENCE / 60_000} minutes` }),
        PATIENCE,
      );
      waiting.push((answer) => (clearTimeout(silence), resolve(answer)));
      return undefined;
    });
}
