/** Opens a device, works as the first argument says, and ends without closing it. Prints when its last line has run. */
import { openDevice } from "../../../src/gpu/device.ts";
import { exp } from "../../../src/ops/unary.ts";
import { input, record } from "../../../src/tensor/tensor.ts";

const [how] = process.argv.slice(2);
const device = await openDevice({ validation: true });
if (how !== "idle") {
  const program = await record(device, "work", () => exp(input([100_000])));
  for (let i = 0; i < 20; i++) program.run();
  if (how === "read") {
    const y = await program.result.read();
    console.log(`read ${y[0]} and ${y.at(-1)}`);
  }
  if (how === "abandoned read") void program.result.read().catch(() => undefined);
}
if (how === "throw") throw new Error("a bug");
console.log(`ends at ${Date.now()}`);
