/**
 * The summarisation task of the paper (section 5.2) and of Huang et al. 2024 (arXiv 2403.17031, details 1 and 2): Reddit posts
 * in a fixed template, of which the post gives way where a prompt would be too long, so that "TL;DR:" always ends it.
 */
import { isRecord } from "../../data/json.ts";
import { FormatError } from "../../errors.ts";

/** A post. */
export interface RedditPost {
  /** Without "r/". */
  readonly subreddit: string;
  readonly title: string;
  readonly post: string;
}

/** Tokens of a prompt at most, in both. */
export const TLDR_TOKENS = 512;

/** "in": the forums that the paper trains on; "out": all others. */
export type Distribution = "in" | "out";

const IN_DISTRIBUTION: ReadonlySet<string> = new Set([
  "relationship",
  "relationships",
  "relationship_advice",
]);

/** Which half of the paper's test a post belongs to. */
export const distributionOf = ({ subreddit }: RedditPost): Distribution =>
  IN_DISTRIBUTION.has(subreddit.toLowerCase()) ? "in" : "out";

const TEMPLATE = /^SUBREDDIT: r\/(\S+)\n\nTITLE: ([^]*?)\n\nPOST: ([^]*?)\n{0,2}TL;DR:\s*$/;

/**
 * The post of a record: fields of their own, or a prompt in the template already.
 * @throws FormatError for something else
 */
export function redditPost(value: unknown, where: string): RedditPost {
  const { subreddit, title, post, prompt } = isRecord(value) ? value : {};
  if (typeof subreddit === "string" && typeof title === "string" && typeof post === "string")
    return { subreddit: subreddit.replace(/^r\//, ""), title, post };
  const [whole, ...parts] = (typeof prompt === "string" && TEMPLATE.exec(prompt)) || [];
  const [forum, heading, body] = parts;
  if (whole !== undefined) return { subreddit: forum!, title: heading!, post: body! };
  const got = JSON.stringify(value)?.slice(0, 80) ?? "nothing";
  throw new FormatError(
    `${where}: expected {"subreddit", "title", "post"}, or a {"prompt"} of "SUBREDDIT: r/… TITLE: … POST: … TL;DR:", got ${got}`,
  );
}

/** The prompt of a post. */
export const tldrText = ({ subreddit, title, post }: RedditPost): string =>
  `SUBREDDIT: r/${subreddit}\n\nTITLE: ${title}\n\nPOST: ${post}\n\nTL;DR:`;

/**
 * The prompt with the longest beginning of the post that fits: cut at its last line break again and again, by a character
 * where there is none.
 * @throws FormatError where it does not fit without any post
 */
export function fittedTldr(full: RedditPost, fits: (text: string) => boolean, where: string): string {
  let { post } = full;
  for (;;) {
    const text = tldrText({ ...full, post });
    if (fits(text)) return text;
    if (post === "") throw new FormatError(`${where}: title and forum alone are longer than a prompt may be`);
    const line = post.lastIndexOf("\n");
    post = line >= 0 ? post.slice(0, line) : withoutLast(post);
  }
}

/** A character beyond U+FFFF goes whole. */
const withoutLast = (text: string): string =>
  text.slice(0, /[\uDC00-\uDFFF]$/.test(text) && text.length > 1 ? -2 : -1);
