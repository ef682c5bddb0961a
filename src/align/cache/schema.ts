/** What the lines of a cache file are held against. */
import { z } from "zod";
import type { CacheEntry, CacheHeader } from "./cache.ts";

/** Of the first line. */
export const headerSchema: z.ZodType<CacheHeader> = z.object({
  format: z.literal("vbon-cache"),
  version: z.literal(1),
  model: z.string(),
  modelHash: z.string(),
  reward: z.string(),
  temperature: z.number().positive(),
  topK: z.number(),
  topP: z.number(),
  maxNewTokens: z.number().int().positive(),
  stop: z.string().default(""),
  seed: z.number(),
  m: z.number().int().positive(),
  dtype: z.string(),
  created: z.string(),
});

/** Of every other line. */
export const entrySchema: z.ZodType<CacheEntry> = z.object({
  promptId: z.string(),
  prompt: z.string(),
  promptIds: z.array(z.number().int().nonnegative()),
  messages: z.array(z.looseObject({ role: z.string(), content: z.string() })).optional(),
  rewards: z.array(z.number()).min(1),
  lengths: z.array(z.number().int().nonnegative()).optional(),
  finished: z.array(z.boolean()).optional(),
  logprobs: z.array(z.number()).optional(),
  responses: z.array(z.string()).optional(),
  responseIds: z.array(z.array(z.number().int().nonnegative())).optional(),
});
