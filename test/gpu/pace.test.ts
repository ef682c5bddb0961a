/** The host runs two steps ahead of a GPU, and none ahead of a software adapter. */
import { expect, it } from "vitest";
import { openDevice } from "../../src/gpu/device.ts";

/** A queue whose work is done when the test says so. */
function heldQueue(device: { gpu: GPUDevice }): (() => void)[] {
  const finish: (() => void)[] = [];
  Object.defineProperty(device.gpu.queue, "onSubmittedWorkDone", {
    value: () => new Promise<undefined>((resolve) => void finish.push(() => resolve(undefined))),
    configurable: true,
  });
  return finish;
}

const settled = (promise: Promise<void>): Promise<boolean> =>
  Promise.race([promise.then(() => true), new Promise<boolean>((no) => setImmediate(() => no(false)))]);

it.each([
  [false, 2],
  [true, 0],
])("software %s: %i steps ahead", async (software, ahead) => {
  const device = await openDevice({ pretend: { subgroupSize: 0, software } });
  const finish = heldQueue(device);
  for (let i = 0; i < ahead; i++) expect(await settled(device.pace())).toBe(true);
  const next = device.pace();
  if (!software) expect(await settled(next)).toBe(false); // a software adapter is waited for in slices
  finish[0]!();
  await next;
  finish.forEach((done) => done());
  Reflect.deleteProperty(device.gpu.queue, "onSubmittedWorkDone");
  await device.close();
});
