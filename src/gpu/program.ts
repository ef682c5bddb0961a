/**
 * Programs: recorded once, planned, replayed. While a function records, ops append kernel calls on virtual
 * storages; the plan decides which buffers they share; a run only encodes and submits, so that the steady
 * state creates no buffer, no bind group and no tensor.
 */
import { DeviceError, KernelError } from "../errors.ts";
import type { Call } from "./call.ts";
import { debugs } from "./debug-level.ts";
import { callTable, createScan, logRun, type Scan } from "./debug.ts";
import type { Device } from "./device.ts";
import { assemble, dispatchEncoded, type Parts, type ProgramMemory } from "./encode.ts";
import { formatBytes } from "./memory.ts";
import { planMemory } from "./plan.ts";
import { profilerOf } from "./profile.ts";
import { listen, Recording, refuseNested } from "./recording.ts";
import type { Storage } from "./storage.ts";

/** A planned program: run it as often as you like. */
export class Program<R = unknown> {
  readonly device: Device;
  readonly label: string;
  readonly calls: readonly Call[];
  /** What the recorded function returned: the tensors to write before a run and to read after it. */
  readonly result: R;
  readonly memory: ProgramMemory;
  readonly #parts: Parts;
  readonly #scan: Scan | undefined;
  readonly #timed: boolean = debugs(1);
  #disposed = false;

  constructor(recorded: Recording, result: R, parts: Parts, scan?: Scan) {
    this.device = recorded.device;
    this.label = recorded.label;
    this.calls = recorded.calls;
    this.result = result;
    this.memory = parts.memory;
    this.#parts = parts;
    this.#scan = scan;
  }

  /** Bytes of the buffers this program binds beside parameters: scratch, inputs, outputs. */
  get bytes(): number {
    const { inputs, outputs, params, scratch } = this.memory;
    return inputs + outputs + params + scratch;
  }

  /** Its calls as a table: kernel, constants, workgroups, FLOPs, bytes. */
  describe(): string {
    return callTable(this.label, this.calls, `memory: ${formatBytes(this.bytes)}`);
  }

  /**
   * Submits the program, `times` in a row. Returns at once; reads wait for it.
   * @throws KernelError after `dispose`
   */
  run(times = 1): void {
    if (this.#disposed) throw new KernelError(`${this.label}: run after dispose; record it again`);
    const { gpu, counters } = this.device;
    const { encoded } = this.#parts;
    counters.submits++;
    counters.dispatches += times * encoded.length;
    const profiler = profilerOf(this.device);
    if (profiler) return profiler.submit(this, encoded, times);
    const encoder = gpu.createCommandEncoder({ label: this.label });
    const pass = encoder.beginComputePass({ label: this.label });
    this.#scan?.before(pass);
    for (let i = 0; i < times; i++) {
      for (const [at, call] of encoded.entries()) {
        dispatchEncoded(pass, call);
        this.#scan?.after(pass, at);
      }
    }
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    this.#scan?.submitted();
    if (this.#timed) logRun(this.device, this.label, times * encoded.length);
  }

  /** Submits call `at` alone, `times` in a row: for measuring. */
  repeat(at: number, times: number): void {
    const encoder = this.device.gpu.createCommandEncoder({ label: `${this.label}, call ${at}` });
    const pass = encoder.beginComputePass();
    for (let i = 0; i < times; i++) dispatchEncoded(pass, this.#parts.encoded[at]!);
    pass.end();
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  /** Gives the program's own buffers back (inputs, outputs, parameters of its calls), and its share of the scratch. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const buffer of this.#parts.owned) this.device.destroyBuffer(buffer);
    this.#scan?.dispose();
    this.device.scratch.release(this.#parts.scratch);
  }
}

/**
 * Records `build`, plans its memory, compiles its kernels side by side.
 * @param keep the storages in `build`'s result that must survive the run
 * @throws KernelError at once when called while another program is being recorded
 */
export function recordProgram<R>(
  device: Device,
  label: string,
  build: () => R,
  keep: (result: R) => Iterable<Storage>,
): Promise<Program<R>> {
  refuseNested(label);
  return finish(new Recording(device, label), build, keep);
}

async function finish<R>(
  recorded: Recording,
  build: () => R,
  keep: (result: R) => Iterable<Storage>,
): Promise<Program<R>> {
  const { device, owned } = recorded;
  try {
    const result = listen(recorded, build);
    for (const storage of keep(result)) recorded.kept.add(storage);
    const pipelines = await Promise.all(recorded.calls.map((call) => device.pipeline(call.spec)));
    const parts = await placed(device, () => assemble(recorded, planMemory(recorded), pipelines));
    const scan = debugs(4) ? await createScan(device, recorded.label, recorded.calls) : undefined;
    const program = new Program(recorded, result, parts, scan);
    if (debugs(2)) console.error(program.describe());
    return program;
  } catch (error) {
    for (const { place } of owned) device.destroyBuffer(place!.buffer);
    throw error;
  }
}

/** Allocates; what the GPU cannot give is an error here, not at some later read. */
async function placed(device: Device, allocate: () => Parts): Promise<Parts> {
  device.gpu.pushErrorScope("out-of-memory");
  let parts: Parts;
  let refused: Promise<GPUError | null>;
  try {
    parts = allocate();
  } finally {
    refused = device.gpu.popErrorScope();
  }
  const error = await refused;
  if (!error) return parts;
  const message = device.explain(error); // with what is in use now
  for (const buffer of parts.owned) device.destroyBuffer(buffer);
  device.scratch.release(parts.scratch);
  throw new DeviceError(message);
}
