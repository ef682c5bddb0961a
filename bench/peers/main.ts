/** `npm run peers`: the same work in ours and in every peer that is here, side by side; a table of ratios. */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { writeFileAtomic } from "../../src/data/files.ts";
import { ConfigError, messageOf } from "../../src/errors.ts";
import { openDevice } from "../../src/gpu/device.ts";
import { runtime } from "../../src/host.ts";
import { version } from "../../src/cli/version.ts";
import { type Item, ITEMS } from "./items.ts";
import { findPeers, installPeers, OURS } from "./roster.ts";
import { compare } from "./rounds.ts";
import { markdown, type Row, rowsOf } from "./table.ts";

const HELP = `npm run peers -- [flags]: the same work in vbon and in its peers, alternating; a table of ratios

  --only ID[,ID]    some of the work: ${ITEMS.map(({ id }) => id).join(", ")}
  --peers NAME[,…]  only peers whose name begins so
  --rounds N        turns of each (default 5)
  --seconds S       least time of a turn (default 2)
  --json            a JSON record instead of the table
  --out FILE        write the table there too
  --install         install the peers that are npm packages first, each into its own folder
`;

const FLAGS = {
  only: { type: "string" },
  peers: { type: "string" },
  rounds: { type: "string", default: "5" },
  seconds: { type: "string", default: "2" },
  json: { type: "boolean", default: false },
  out: { type: "string" },
  install: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

const say = (line: string): void => console.error(line);
const listed = (text: string | undefined): string[] | undefined => text?.split(",").map((s) => s.trim());

/** @throws ConfigError on work that there is not */
function checkItems(only: readonly string[] = []): void {
  const unknown = only.find((id) => !ITEMS.some((item) => item.id === id));
  if (unknown !== undefined)
    throw new ConfigError(
      `peers: --only ${unknown}: expected one of ${ITEMS.map(({ id }) => id).join(", ")}`,
    );
}

/** The work that was asked for, else all that suits the adapter. */
const chooseItems = (only: readonly string[] | undefined, software: boolean): readonly Item[] =>
  ITEMS.filter(({ id, on }) => (only ? only.includes(id) : (on === "software") === software));

/** The adapter, whose device is closed again: the workers open their own. */
async function adapterOf(): Promise<{ name: string; software: boolean }> {
  const device = await openDevice();
  const { name, software } = device;
  await device.close();
  return { name, software };
}

async function main(): Promise<void> {
  const { values: flags } = parseArgs({ options: FLAGS });
  if (flags.help) return console.log(HELP);
  const [rounds, seconds] = [Number(flags.rounds), Number(flags.seconds)];
  if (!(rounds >= 1 && seconds > 0))
    throw new ConfigError(
      `peers: expected --rounds of at least 1 and --seconds above 0, got ${flags.rounds} and ${flags.seconds}`,
    );
  checkItems(listed(flags.only));
  if (flags.install) installPeers();
  const adapter = await adapterOf();
  const items = chooseItems(listed(flags.only), adapter.software);
  const roster = await findPeers();
  const wanted = listed(flags.peers);
  const rows: Row[] = [];
  const skipped = roster.absent.map(({ name, why }) => `${name}: ${why}`);
  for (const line of skipped) say(line);
  const [cpu] = cpus();
  // However it is ended, the held workers are ended too: they would not hear of it.
  const ends = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
  for (const [signal, code] of Object.entries(ends)) process.once(signal, () => process.exit(code));
  const heading = {
    machine: `${adapter.name}; ${cpu?.model ?? "unknown processor"}, ${cpus().length} threads; ${runtime()}`,
    date: new Date().toISOString().slice(0, 10),
    rounds,
    versions: { vbon: await version(), ...roster.versions },
    skipped,
  };
  for (const item of items) {
    const peers = roster
      .contenders(item)
      .filter(({ name }) => wanted?.some((w) => name.startsWith(w)) ?? true);
    const outcome = await compare(item, OURS, peers, { rounds, seconds, say });
    rows.push(...rowsOf(item, outcome.ours, outcome.peers));
    skipped.push(...outcome.skipped.map(({ name, why }) => `${item.id}: ${name}: ${why}`));
    if (flags.out) await writeFileAtomic(flags.out, markdown(heading, rows)); // what is measured is kept
  }
  console.log(flags.json ? JSON.stringify({ ...heading, rows }) : markdown(heading, rows));
}

/** A wrong flag is one line and exit code 2; anything else is a fault of ours and shows where. */
function refuse(error: unknown): void {
  const parsed = String((error as NodeJS.ErrnoException).code).startsWith("ERR_PARSE_ARGS");
  if (!parsed && !(error instanceof ConfigError)) throw error;
  say(parsed ? `peers: ${messageOf(error)}; \`npm run peers -- --help\` lists the flags` : messageOf(error));
  process.exitCode = 2;
}

await main().catch(refuse);
