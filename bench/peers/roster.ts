/** Who is compared, what each can do, and how each is started here. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Item, Work } from "./items.ts";
import type { Launch, Task } from "./protocol.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));

/** One way to run a peer. Of several, the fastest on the item at hand is measured. */
export interface Setup {
  readonly label: string;
  readonly launch: Launch;
  readonly setting: Task["setting"];
}

/** One side of a comparison. */
export interface Contender {
  readonly name: string;
  readonly setups: readonly Setup[];
}

/** A peer that is not here, and what to do about it. */
export interface Absent {
  readonly name: string;
  readonly why: string;
}

/** The peers of this machine. */
export interface Roster {
  /** Names and versions of what is there. */
  readonly versions: Readonly<Record<string, string>>;
  readonly absent: readonly Absent[];
  contenders(item: Item): readonly Contender[];
}

/** A process of Node that runs `file`, under here. */
function nodeWorker(file: string): Launch {
  return { command: process.execPath, args: [join(HERE, "run.mjs"), "--worker", file], env: {} };
}

/** Ours, as a process of its own like every peer. */
export const OURS: Contender = {
  name: "vbon",
  setups: [{ label: "", launch: nodeWorker("ours/worker.ts"), setting: {} }],
};

/** Looks for every peer. */
export async function findPeers(): Promise<Roster> {
  const found = [await findPython(), ...NPM_PEERS.map(findNpm)];
  return {
    versions: Object.assign({}, ...found.map(({ versions }) => versions)) as Record<string, string>,
    absent: found.flatMap(({ absent }) => absent),
    contenders: (item) => found.flatMap((peer) => peer.contenders(item)),
  };
}

// PyTorch, OpenBLAS through NumPy, transformers

interface Probe {
  readonly torch?: string;
  readonly transformers?: string;
  readonly numpy?: string;
  readonly cuda?: string | null;
  /** 512x512x512 in NumPy. */
  readonly gflops?: number;
  /** The processor that OpenBLAS thinks it is on. */
  readonly core?: string;
}

interface Python extends Probe {
  readonly path: string;
  readonly env: Launch["env"];
}

/**
 * OpenBLAS's settings of this shell are of no account; what it makes of a processor that is younger than itself is not
 * either: Debian 12's takes an Emerald Rapids for a Prescott, a fifth of the speed.
 */
const BLAS_ENVS: readonly Launch["env"][] = [undefined, "SKYLAKEX", "HASWELL"].map((core) => ({
  OPENBLAS_L2_SIZE: undefined,
  OPENBLAS_CORETYPE: core,
}));

async function findPython(): Promise<Roster> {
  const candidates = process.env["PEERS_PYTHON"]
    ? [process.env["PEERS_PYTHON"]]
    : ["python3", "/usr/bin/python3", "/usr/local/bin/python3"];
  for (const path of candidates) {
    const plain = await probe(path, BLAS_ENVS[0]!);
    if (!plain?.torch) continue;
    let best: Python = { ...plain, path, env: BLAS_ENVS[0]! };
    if (process.arch === "x64" && !plain.cuda) {
      for (const env of BLAS_ENVS.slice(1)) {
        const other = await probe(path, env);
        if ((other?.gflops ?? 0) > 1.1 * (best.gflops ?? 0)) best = { ...other, path, env };
      }
    }
    return pythonRoster(best);
  }
  const why = `no torch in ${candidates.join(", ")}; see bench/peers/torch/README.md, or set PEERS_PYTHON`;
  return { versions: {}, absent: [{ name: "torch", why }], contenders: () => [] };
}

async function probe(path: string, env: Launch["env"]): Promise<Probe | undefined> {
  const full = { ...process.env, ...env };
  for (const [key, value] of Object.entries(env)) if (value === undefined) delete full[key];
  try {
    const { stdout } = await promisify(execFile)(path, [join(HERE, "torch/probe.py")], { env: full });
    return JSON.parse(stdout.trim().split("\n").at(-1)!) as Probe;
  } catch {
    return undefined; // no such python3, or one that cannot import what it has
  }
}

function pythonRoster(python: Python): Roster {
  const { torch, numpy, transformers, core, cuda } = python;
  const blas = core
    ? { openblas: `${core} kernels${python.env["OPENBLAS_CORETYPE"] ? ", chosen by OPENBLAS_CORETYPE" : ""}` }
    : {};
  return {
    versions: {
      torch: torch!,
      ...(numpy && { numpy }),
      ...blas,
      ...(transformers && { transformers }),
      ...(cuda && { cuda }),
    },
    absent: transformers
      ? []
      : [{ name: "transformers", why: `not installed beside torch in ${python.path}` }],
    contenders: (item) => pythonContenders(python, item),
  };
}

function pythonContenders(python: Python, { work, on }: Item): Contender[] {
  if (work.kind === "start") return [];
  const libraries = work.kind === "decode" && python.transformers ? ["torch", "transformers"] : ["torch"];
  if (on === "gpu" && python.cuda) {
    return libraries.flatMap((library) =>
      precisionsFor(work).map((precision) => ({
        name: `${library} ${precision}`,
        setups: [cudaSetup(python, library, precision)],
      })),
    );
  }
  if (work.kind === "matmul" && python.numpy) libraries.unshift("openblas");
  const cores = availableParallelism();
  return libraries.map((library) => ({
    name: library,
    setups: [...new Set([1, cores])].map((threads) => cpuSetup(python, library, threads)),
  }));
}

/** f32 against f32, a product of f16 against bf16, mixed training against both. */
function precisionsFor(work: Work): readonly ("f32" | "bf16")[] {
  if (!("precision" in work)) return ["f32"];
  return work.kind === "matmul" ? ["bf16"] : ["f32", "bf16"];
}

function cpuSetup({ path, env }: Python, library: string, threads: number): Setup {
  const n = String(threads);
  return {
    label: threads === 1 ? "1 thread" : `${n} threads`,
    launch: {
      command: path,
      args: [join(HERE, "torch/worker.py")],
      env: { ...env, OPENBLAS_NUM_THREADS: n, OMP_NUM_THREADS: n },
    },
    setting: { library, threads },
  };
}

/** float32 runs eagerly; bf16 is what PyTorch does best, so its steps are compiled. */
function cudaSetup({ path, env }: Python, library: string, precision: "f32" | "bf16"): Setup {
  const compile = precision === "bf16" && library === "torch";
  return {
    label: compile ? "CUDA, torch.compile" : "CUDA",
    launch: { command: path, args: [join(HERE, "torch/worker.py")], env },
    setting: { library, device: "cuda", precision, compile },
  };
}

// npm packages

interface NpmPeer {
  /** Under here, with a package.json of its own. */
  readonly folder: string;
  readonly package: string;
}

const NPM_PEERS: readonly NpmPeer[] = [
  { folder: "jax-js", package: "@jax-js/jax" },
  { folder: "tfjs", package: "@tensorflow/tfjs" },
];

function findNpm({ folder, package: name }: NpmPeer): Roster {
  const manifest = join(HERE, folder, "node_modules", name, "package.json");
  if (!existsSync(manifest)) {
    const why = "not installed; `npm run peers -- --install` does it";
    return { versions: {}, absent: [{ name: folder, why }], contenders: () => [] };
  }
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  return {
    versions: { [folder]: version },
    absent: [],
    contenders: (item) => npmContenders(folder, item),
  };
}

/** Products and GPT-2 training are what both can do; decoding over a cache is not written in them. */
function npmContenders(folder: string, { work }: Item): Contender[] {
  const can = work.kind === "matmul" || (work.kind === "train" && work.model["model_type"] === "gpt2");
  if (!can) return [];
  const launch = nodeWorker(`${folder}/worker.mjs`);
  const setup = (backend: string, threads: number): Setup => ({
    label: backend === "webgpu" ? "" : threads === 1 ? "1 thread" : `${threads} threads`,
    launch,
    setting: { backend, threads },
  });
  // tfjs has threads in browsers alone
  const threads = folder === "jax-js" ? [...new Set([1, availableParallelism()])] : [1];
  return [
    { name: `${folder} wasm`, setups: threads.map((n) => setup("wasm", n)) },
    { name: `${folder} webgpu`, setups: [setup("webgpu", 1)] },
  ];
}

/** Installs the npm peers, each into its own folder. */
export function installPeers(): void {
  for (const { folder } of NPM_PEERS) {
    const args = ["install", "--no-audit", "--no-fund", "--no-package-lock"];
    execFileSync("npm", args, { cwd: join(HERE, folder), stdio: ["ignore", "ignore", "inherit"] });
  }
}
