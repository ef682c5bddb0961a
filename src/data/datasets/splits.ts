/** Which files of a repository of data are meant: one by its name, those of a pattern, or a split by its name, as the datasets library infers it. */
import { ConfigError } from "../../errors.ts";
import { globPattern, isGlob, patternOf } from "./glob.ts";
import { endingOf } from "./unpack.ts";

/** What is asked for. */
export interface Asked {
  /** Who asks, for messages: the name that a path can be put behind. */
  readonly who: string;
  /** A file, a pattern, a folder, or "" for the whole repository. */
  readonly path: string;
  /** Of a folder or the whole; "train" without it, which is all there is where nothing is called by a split. */
  readonly split?: string | undefined;
}

/** What is meant. */
export interface Chosen {
  /** In the order in which they are read. */
  readonly files: readonly string[];
  /** Whether a split has been chosen, and not a file or a pattern. */
  readonly bySplit: boolean;
}

/** The hub lists no more files of a repository at once. */
const LISTED = 50_000;

const READABLE = /\.(parquet|(jsonl?|csv|tsv|txt)(\.gz)?)$/i;

/** Files that describe data and hold none; hidden ones. */
const ABOUT =
  /(^|\/)([._][^]*|readme[^/]*|licen[cs]e[^/]*|requirements\.txt|(config|dataset_infos?|dataset_dict|state)\.json)$/i;

/** The names that splits go by, as in the datasets library. */
const SPLITS: Readonly<Record<string, readonly string[]>> = {
  train: ["train", "training"],
  validation: ["validation", "valid", "val", "dev"],
  test: ["test", "testing", "eval", "evaluation"],
};

/**
 * Chooses among the files `all` of a repository.
 * @throws ConfigError, listing what there is, when nothing fits, or several sets of files do
 */
export function chooseFiles(all: readonly string[], asked: Asked): Chosen {
  const { who, path } = asked;
  if (all.includes(path)) return { files: readable([path], asked, all), bySplit: false };
  if (all.length >= LISTED)
    throw new ConfigError(
      `${who}: has ${LISTED} files or more, of which the hub lists no others; expected the whole name of one`,
    );
  if (isGlob(path)) {
    const pattern = globPattern(path);
    return { files: readable(sorted(all.filter((file) => pattern.test(file))), asked, all), bySplit: false };
  }
  const folder = path === "" ? "" : `${path}/`;
  const inside = all.filter((file) => file.startsWith(folder) && READABLE.test(file) && !ABOUT.test(file));
  if (inside.length === 0) throw nothing(asked, all);
  return { files: ofSplit(inside, asked), bySplit: true };
}

function readable(files: readonly string[], asked: Asked, all: readonly string[]): readonly string[] {
  if (files.length === 0) throw nothing(asked, all);
  const odd = files.find((file) => !READABLE.test(file));
  if (odd !== undefined)
    throw new ConfigError(`${asked.who}: ${odd} cannot be read; expected ${KINDS}. ${converted(asked)}`);
  const endings = [...new Set(files.map(endingOf))];
  if (endings.length === 1) return files;
  throw new ConfigError(
    `${asked.who}: "${asked.path}" fits files of several kinds (${endings.join(", ")}); end it with one of them`,
  );
}

const nothing = (asked: Asked, all: readonly string[]): ConfigError =>
  new ConfigError(
    `${asked.who}: has no files of data${asked.path === "" ? "" : ` at "${asked.path}"`}; it has ${listed(all)}. ` +
      `Expected ${KINDS}. ${converted(asked)}`,
  );

const KINDS = ".parquet, or .jsonl, .json, .csv, .tsv or .txt, these in .gz too";

/** Whatever a dataset is written in, the hub keeps it as Parquet too. */
const converted = ({ who }: Asked): string =>
  `The hub's own conversion, where it has made one, is ${who.replace(/@.*$/, "")}@~parquet`;

/** A file's place among splits. */
interface Placed {
  readonly file: string;
  /** Equal for files that are parts of one: all of its name but the split and the number of the part. */
  readonly set: string;
}

function ofSplit(inside: readonly string[], { who, split }: Asked): readonly string[] {
  const wanted = split ?? "train";
  const free = SPLITS["train"]!.includes(wanted) && !inside.some((file) => isSplit(file));
  const whole = inside.map((file) => ({ file, set: withoutPart(file) }));
  const found = free ? whole : inside.flatMap((file) => placed(file, wanted) ?? []);
  const sets = setsOf(found);
  if (sets.length === 1) return sets[0]!;
  const what = free ? "" : ` of the split "${wanted}"`;
  if (sets.length === 0)
    throw new ConfigError(
      `${who}: has no files${what}; it has ${patterns(setsOf(whole))}. Choose with --split, or put a path or a pattern behind its name`,
    );
  throw new ConfigError(
    `${who}: has several sets of files${what}: ${patterns(sets)}. Put the one that you mean behind its name: ${who}/${patternOf(sets[0]!)}`,
  );
}

const isSplit = (file: string): boolean => Object.keys(SPLITS).some((split) => placed(file, split));

function setsOf(found: readonly Placed[]): string[][] {
  const sets = new Map<string, string[]>();
  for (const { file, set } of found) sets.set(set, [...(sets.get(set) ?? []), file]);
  return [...sets.values()].map(sorted);
}

/** By the part of a path that names a split, the nearest to its end: undefined where that is another one, or none. */
function placed(file: string, split: string): Placed | undefined {
  const parts = file.split("/");
  for (let at = parts.length - 1; at >= 0; at--) {
    const rest = without(parts[at]!, split);
    if (rest !== undefined) {
      // What is in a folder of the split belongs together, whatever it is called.
      const named = at === parts.length - 1 ? withoutPart(rest) : `${rest}/${endingOf(file)}`;
      return { file, set: [...parts.slice(0, at), named].join("/") };
    }
    if (Object.keys(SPLITS).some((other) => without(parts[at]!, other) !== undefined)) return undefined;
  }
  return undefined;
}

/** `text` without the word for a split; undefined where it has none. */
function without(text: string, split: string): string | undefined {
  for (const name of Object.values(SPLITS).find((family) => family.includes(split)) ?? [split]) {
    const word = name.replaceAll(/[^\w]/g, String.raw`\$&`);
    const found = new RegExp(String.raw`(?<=^|[-._ \d])${word}(?=[-._ \d]|$)`, "i").exec(text);
    if (found) return text.slice(0, found.index) + text.slice(found.index + name.length);
  }
  return undefined;
}

/** "-00000-of-00002", a number before the ending, and the hash that the datasets library puts there. */
const PART = /-[0-9a-f]{16}(?=\.)|[-._ ]?\d+[-_]of[-_]\d+|[-._ ]?\d+(?=\.[^.]*(\.gz)?$)/g;

/** A path without the number of its part. */
const withoutPart = (path: string): string => path.replace(/[^/]*$/, (name) => name.replaceAll(PART, ""));

const sorted = (files: readonly string[]): string[] => [...files].toSorted();

const patterns = (sets: readonly (readonly string[])[]): string =>
  listed(sets.map((files) => patternOf(files)));

const listed = (names: readonly string[]): string =>
  names.length > 8 ? `${names.slice(0, 8).join(", ")} and ${names.length - 8} more` : names.join(", ");
