/** From what a flag says to the files that hold the data: one, those of a pattern, or those of a dataset from the hub. */
import { ConfigError } from "../../errors.ts";
import { exists, listFiles } from "../files.ts";
import { globPattern, isGlob } from "./glob.ts";
import { cachedDataset, isHubData } from "./hub.ts";
import { endingOf } from "./unpack.ts";

/**
 * The files that `spec` names, in the order in which they are read as one: a path, a pattern such as `shards/*.jsonl` (in
 * the order of their names), or the address of a dataset that is in the cache. A path is not looked at: reading it says what is amiss.
 * @throws ConfigError when a pattern fits nothing, or files with other endings than its own; as {@link cachedDataset}
 */
export async function dataFiles(spec: string): Promise<string[]> {
  if (isHubData(spec)) return cachedDataset(spec);
  if (!isGlob(spec) || (await exists(spec))) return [spec];
  const fixed = spec.slice(0, spec.search(/[*?[{]/)).replace(/[^/]*$/, "");
  const fits = globPattern(spec);
  const deep = spec.slice(fixed.length).includes("/") || spec.includes("**");
  const files = (await listFiles(fixed === "" ? "." : fixed, deep))
    .map((file) => fixed + file)
    .filter((file) => fits.test(file));
  const ending = endingOf(spec);
  const odd = files.find((file) => ending === "" || endingOf(file) !== ending);
  if (files.length > 0 && odd === undefined) return files;
  throw new ConfigError(
    odd === undefined
      ? `${spec}: no file fits this pattern; check the path`
      : `${spec}: ends otherwise than ${odd}, which it fits; expected the ending in the pattern, as in *.jsonl`,
  );
}
