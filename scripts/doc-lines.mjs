#!/usr/bin/env node
// Keeps links to code right: [`name`](../src/file.ts#L12) in a page of docs/ points to the line that defines the name.
// usage: node scripts/doc-lines.mjs docs/vbon.md
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const LINK = /\[`(\w+)(?:\(\))?`\]\(([^)#]+\.(?:ts|wgsl))#L\d+\)/g;

/** The text of the page at `path`, each such link on the line of its name. Throws where a file does not define it. */
export function withLines(path, text) {
  return text.replaceAll(LINK, (link, name, file) => {
    const lines = readFileSync(join(dirname(path), file), "utf8").split("\n");
    const top = new RegExp(`^(?:export )?(?:async )?(?:function|const|fn|interface|type) ${name}\\b`);
    const at = lines.findIndex((line) => top.test(line));
    if (at < 0) throw new Error(`${path}: ${file} defines no ${name}`);
    return link.replace(/#L\d+/, `#L${at + 1}`);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const pages = process.argv.slice(2);
  if (pages.length === 0) {
    console.error("usage: node scripts/doc-lines.mjs PAGE.md ...");
    process.exit(2);
  }
  for (const path of pages) writeFileSync(path, withLines(path, readFileSync(path, "utf8")));
}
