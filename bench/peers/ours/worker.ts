/** Our side: each kind of work through the public path of the library. */
import { openDevice } from "../../../src/index.ts";
import { type Prepared, serve } from "../serve.ts";
import type { Task } from "../protocol.ts";
import { prepareDecode } from "./decode.ts";
import { prepareMatmul } from "./matmul.ts";
import { prepareStart } from "./start.ts";
import { prepareTrain } from "./train.ts";

async function prepare({ work }: Task): Promise<Prepared> {
  if (work.kind === "start") return prepareStart();
  const device = await openDevice();
  switch (work.kind) {
    case "matmul":
      return prepareMatmul(device, work);
    case "train":
      return prepareTrain(device, work);
    case "decode":
      return prepareDecode(device, work);
  }
}

await serve(prepare);
process.exit(); // nothing here is worth waiting for
