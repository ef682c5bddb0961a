/** One device for a test file, with validation on. */
import { type Device, openDevice } from "../../src/gpu/device.ts";

let opened: Promise<Device> | undefined;

/** The device of this test process. */
export function testDevice(): Promise<Device> {
  opened ??= openDevice({ validation: true });
  return opened;
}
