/** `vbon --help` and `vbon <verb> --help`. */
import type { AnyVerb } from "../verb.ts";
import { type Flag, flagsOf } from "./flags.ts";

const WIDTH = 100;

/** The page of all commands. */
export function overview(version: string, verbs: readonly Pick<AnyVerb, "name" | "summary">[]): string {
  const widest = Math.max(...verbs.map(({ name }) => name.length));
  return [
    `vbon ${version}: train, generate with and align language models on any GPU`,
    "",
    "Usage: vbon <command> [flags]",
    "",
    ...verbs.map(({ name, summary }) => `  ${name.padEnd(widest)}  ${summary}`),
    "",
    "`vbon <command> --help` lists a command's flags. Results go to stdout, progress to stderr.",
    "Exit code: 0 done, 1 a failed check or a bug, 2 wrong input or no adapter, 130 stopped by Ctrl-C.",
  ].join("\n");
}

/** The page of one command. */
export function verbHelp(verb: AnyVerb): string {
  const flags = flagsOf(verb.schema);
  const required = flags.filter((f) => f.required || f.positional).map((f) => `${left(f)} `);
  const lines = [
    `vbon ${verb.name}: ${verb.summary}`,
    "",
    `Usage: vbon ${verb.name} ${required.join("")}[flags]`,
  ];
  const widest = Math.max(...[...flags, ...COMMON_FLAGS].map((f) => left(f).length).filter((n) => n <= 28));
  for (const [i, flag] of flags.entries()) {
    if (i === 0 || flag.heading) lines.push("", flag.heading ?? "Flags");
    lines.push(...flagLines(flag, widest));
  }
  lines.push("", "Everywhere", ...COMMON_FLAGS.flatMap((flag) => flagLines(flag, widest)));
  if (verb.examples.length > 0) lines.push("", "Examples");
  for (const { does, line } of verb.examples) lines.push(`  # ${does}`, `  ${line}`);
  return lines.join("\n");
}

const plain = {
  key: "",
  options: [],
  heading: undefined,
  required: false,
  default: undefined,
  positional: false,
} as const;
const COMMON_FLAGS: readonly Flag[] = [
  {
    ...plain,
    name: "config",
    type: "string",
    hint: "FILE.json",
    description: 'settings from a file, {"maxNewTokens": 5}, such as a run\'s config.json; flags win',
  },
  { ...plain, name: "json", type: "boolean", hint: "", description: "results as JSON lines" },
  { ...plain, name: "help", type: "boolean", hint: "", description: "this page" },
];

const left = ({ name, hint, positional }: Flag): string =>
  positional ? `[${hint}]` : `--${name}${hint ? ` ${hint}` : ""}`;

function flagLines(flag: Flag, widest: number): string[] {
  const text = `${flag.description}${shownDefault(flag)}`;
  const indent = " ".repeat(widest + 4);
  const [first = "", ...rest] = wrap(text, WIDTH - indent.length);
  const name = left(flag);
  const head =
    name.length > widest ? [`  ${name}`, `${indent}${first}`] : [`  ${name.padEnd(widest)}  ${first}`];
  return [...head, ...rest.map((line) => indent + line)];
}

function shownDefault({ default: value, required, type }: Flag): string {
  if (required) return " (required)";
  if (value === undefined || String(value) === "" || (type === "boolean" && value === false)) return "";
  return ` (default ${Array.isArray(value) ? value.join(",") : String(value)})`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
