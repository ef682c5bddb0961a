/** `npm run bench -- [--json] [--time MS] [name …]`: times the ops; names choose the jobs that contain one of them. */
import { openDevice } from "../src/gpu/device.ts";
import { plans } from "./jobs.ts";
import { machineOf, measure, show } from "./measure.ts";

interface Options {
  readonly json: boolean;
  /** Milliseconds a job. */
  readonly time: number;
  readonly names: readonly string[];
}

function parse(argv: readonly string[]): Options {
  const names = [...argv];
  const json = names.includes("--json");
  if (json) names.splice(names.indexOf("--json"), 1);
  const at = names.indexOf("--time");
  const time = at < 0 ? 500 : Number(names.splice(at, 2)[1]);
  if (!(time > 0) || names.some((name) => name.startsWith("-"))) {
    throw new Error(`bench: expected [--json] [--time MS] [name …], got ${argv.join(" ")}`);
  }
  return { json, time, names };
}

/** Runs the chosen jobs; a wrong result fails its job and not the others. Returns the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  const { json, time, names } = parse(argv);
  const device = await openDevice();
  const [machine, date] = [machineOf(device), new Date().toISOString().slice(0, 10)];
  let failed = 0;
  if (!json) {
    console.log(`${machine}; ${date}`);
    console.log(
      `${"".padEnd(46)}${"median".padStart(13)}${"best".padStart(13)}  ${"at the median".padStart(16)}   error`,
    );
  }
  for (const plan of plans.filter(
    ({ name }) => names.length === 0 || names.some((part) => name.includes(part)),
  )) {
    const job = await plan.make(device);
    try {
      const line = await measure(device, job, time);
      console.log(json ? JSON.stringify({ ...line, machine, date }) : show(line));
    } catch (error) {
      failed++;
      console.error(String(error));
    }
    job.dispose();
  }
  await device.close();
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
