/** A trained BPE as a folder. */
import { writeTexts } from "../../src/data/files.ts";
import { bpeTexts, type SpecialRoles, type TrainedBpe } from "../../src/data/tokenizer/bpe.ts";

/** Writes `tokenizer.json` and `tokenizer_config.json` into `folder`. */
export async function saveBpeTokenizer(folder: string, bpe: TrainedBpe, roles?: SpecialRoles): Promise<void> {
  await writeTexts(folder, bpeTexts(bpe, roles));
}
