/** One response on stdout, as it is drawn. */
import { createTextStream, type Tokenizer } from "../data/tokenizer/tokenizer.ts";
import type { Engine, GenerateOptions, Request, Sample } from "../generate/engine.ts";
import type { Io } from "./verb.ts";

/** A response, and its last characters, which are not on stdout yet. */
export interface Streamed {
  readonly sample: Sample;
  readonly rest: string;
}

/**
 * Draws one response and streams its text, piece by piece.
 * @returns undefined where it was given up
 */
export async function streamOne(
  engine: Engine,
  request: Request,
  tokenizer: Tokenizer,
  options: Pick<GenerateOptions, "seed" | "reject">,
  io: Io,
): Promise<Streamed | undefined> {
  const text = createTextStream(tokenizer);
  for (const id of request.ids) text.push(id); // joints between tokens come out right
  let shown = 0;
  const show = (ids: ArrayLike<number>): void => {
    for (; shown < ids.length; shown++) io.stream(text.push(ids[shown]!));
  };
  const onTokens = (responses: ReadonlyMap<number, Uint32Array>): void => show(responses.get(0) ?? []);
  const [sample] = await engine.generate([request], { ...options, onTokens });
  if (!sample) return undefined;
  show(sample.ids);
  return { sample, rest: text.flush() };
}
