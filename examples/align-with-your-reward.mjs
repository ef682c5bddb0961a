// A reward of your own: a module that exports `reward`, a function from many responses to as many numbers. It may be
// async (ask a service, a classifier, a compiler); larger is better, and only the order of a prompt's scores matters
// to vBoN. Try it on sentences, then give it to the commands that take a reward:
//   node examples/align-with-your-reward.mjs "The sea was calm. The boat slept." "Many seagulls screamed"
//   vbon cache --policy DIR --reward ./examples/align-with-your-reward.mjs --documents stories.txt --out train.jsonl
//   vbon align --policy DIR --reward ./examples/align-with-your-reward.mjs --cache train.jsonl --out runs/plain
import { pathToFileURL } from "node:url";

const COMMON = new Set(
  "a an and are as at be but by for he her his i in is it of on or she so that the they to was with".split(
    " ",
  ),
);

/**
 * Plain style: finished sentences, of about eight words, that do not repeat themselves.
 * @param {readonly { prompt: string, response: string, promptIds: readonly number[], responseIds: readonly number[] }[]} inputs
 * @returns {number[]} one finite number a response, in order
 */
export function reward(inputs) {
  return inputs.map(({ response }) => {
    const words = response.toLowerCase().match(/[a-z']+/g) ?? [];
    const ends = response.match(/[.!?]/g)?.length ?? 0;
    if (words.length === 0 || ends === 0) return -1;
    const telling = words.filter((word) => !COMMON.has(word));
    const variety = new Set(telling).size / Math.max(1, telling.length);
    return variety - Math.abs(words.length / ends - 8) / 8;
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const response of process.argv.slice(2)) {
    const [score] = reward([{ prompt: "", response, promptIds: [], responseIds: [] }]);
    console.log(score?.toFixed(3), response);
  }
}
