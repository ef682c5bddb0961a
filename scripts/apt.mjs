/** Mesa's software Vulkan driver (lavapipe) through apt: the fastest software adapter, for root on Debian and Ubuntu. */
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { capture, run, say } from "./shell.mjs";

/** Dawn refuses older ones ("shaderUniform*ArrayDynamicIndexing required"). */
const OLDEST_MESA = 23;
const PACKAGES = ["mesa-vulkan-drivers", "libvulkan1"];
const OPTIONS = [
  "-o",
  "DPkg::Lock::Timeout=120",
  "-o",
  "Acquire::Retries=2",
  "-o",
  "Acquire::http::Timeout=20",
];

/**
 * Installs Mesa's Vulkan drivers, from the release or from its backports, whichever is new enough.
 * @throws Error saying why it cannot be done
 */
export async function installMesa() {
  if (process.getuid?.() !== 0) throw new Error("Mesa: not root, so apt cannot install it");
  if ((await capture("apt-get", ["--version"])).code !== 0)
    throw new Error("Mesa: no apt here to install it with");
  const there = (
    await capture("dpkg-query", ["-W", "-f", "${db:Status-Status} ${Version}", "mesa-vulkan-drivers"])
  ).stdout;
  const loader = await capture("dpkg-query", ["-W", "-f", "${db:Status-Status}", "libvulkan1"]);
  if (
    there.startsWith("installed") &&
    loader.stdout === "installed" &&
    major(there.slice(10)) >= OLDEST_MESA
  ) {
    throw new Error(`Mesa: ${there.slice(10)} is installed and gives no adapter; not installed again`);
  }
  say("apt-get update (to look for Mesa's software Vulkan driver)");
  await run("apt-get", ["-qq", ...OPTIONS, "update"]);
  const suite = (await suiteOfMesa()) ?? (await addBackports());
  const target = suite === "" ? [] : ["-t", suite];
  const args = ["-qq", "-y", ...OPTIONS, "--no-install-recommends", "install", ...target, ...PACKAGES];
  say(`apt-get install ${[...target, ...PACKAGES].join(" ")}`);
  const code = await run("apt-get", args, { env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
  if (code !== 0) throw new Error(`Mesa: apt-get install failed with exit code ${code}`);
}

/**
 * Where apt would find a Mesa that is new enough.
 * @returns {Promise<string | undefined>} "" for its first choice, else a suite to name; undefined where there is none
 */
async function suiteOfMesa() {
  const { stdout } = await capture("apt-cache", ["policy", "mesa-vulkan-drivers"]);
  if (major(/Candidate: (\S+)/.exec(stdout)?.[1] ?? "") >= OLDEST_MESA) return "";
  const offers = (await capture("apt-cache", ["madison", "mesa-vulkan-drivers"])).stdout.split("\n");
  const [, , place] =
    offers.map((line) => line.split("|")).find(([, version]) => major(version ?? "") >= OLDEST_MESA) ?? [];
  return place?.trim().split(/\s+/)[1]?.split("/")[0];
}

/**
 * Adds the release's backports from the mirror, and under the key, that this machine uses already.
 * @returns {Promise<string>} the suite
 * @throws Error on a release that has none with such a Mesa
 */
async function addBackports() {
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const codename = /^VERSION_CODENAME="?([a-z]+)/m.exec(release)?.[1];
  const source = codename && /^ID="?debian/m.test(release) && findSource(readSources("/etc/apt"), codename);
  if (!source)
    throw new Error(`Mesa: this release offers none from ${OLDEST_MESA} on, and has no backports to add`);
  const suite = `${codename}-backports`;
  const file = "/etc/apt/sources.list.d/vbon-backports.sources";
  say(
    `adding ${suite} in ${file} (this release's own Mesa is older than ${OLDEST_MESA}, which Dawn refuses)`,
  );
  const key = source.signedBy ? `Signed-By: ${source.signedBy}\n` : "";
  writeFileSync(`${file}.tmp`, `Types: deb\nURIs: ${source.uri}\nSuites: ${suite}\nComponents: main\n${key}`);
  renameSync(`${file}.tmp`, file);
  await run("apt-get", ["-qq", ...OPTIONS, "update"]);
  if ((await suiteOfMesa()) === undefined)
    throw new Error(`Mesa: ${suite} at ${source.uri} offers none either`);
  return suite;
}

/** @param {string} version of a package, such as 25.0.7-2~bpo12+1 @returns {number} */
function major(version) {
  return Number.parseInt(version.trim().replace(/^\d+:/, ""), 10) || 0;
}

/** @typedef {{ uri: string, suites: string[], components: string[], signedBy: string }} Source */

/**
 * All of a machine's package sources, in both formats.
 * @param {string} etc the folder /etc/apt
 * @returns {Source[]}
 */
export function readSources(etc) {
  const parts = join(etc, "sources.list.d");
  const more = existsSync(parts) ? readdirSync(parts).map((name) => join(parts, name)) : [];
  const files = [join(etc, "sources.list"), ...more].filter(
    (file) => /\.(list|sources)$/.test(file) && existsSync(file),
  );
  return files.flatMap((file) => {
    const text = readFileSync(file, "utf8");
    return file.endsWith(".list") ? parseLines(text) : parseDeb822(text);
  });
}

/**
 * The source of a release's main component: its mirror carries the backports too.
 * @param {Source[]} sources
 * @param {string} codename such as bookworm
 */
export function findSource(sources, codename) {
  return sources.find(({ suites, components }) => suites.includes(codename) && components.includes("main"));
}

/**
 * One source a line: `deb [signed-by=KEY] URI SUITE COMPONENT...`.
 * @param {string} text
 * @returns {Source[]}
 */
export function parseLines(text) {
  return [...text.matchAll(/^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)([^#\n]*)/gm)].map((match) => {
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const signedBy = /signed-by=(\S+)/.exec(options)?.[1] ?? "";
    return { uri, suites: [suite], components: words(components), signedBy };
  });
}

/**
 * Paragraphs of fields, where a line that begins with a space continues the field (a key may stand there whole).
 * @param {string} text
 * @returns {Source[]}
 */
export function parseDeb822(text) {
  const paragraphs = text.replace(/^#.*\n?/gm, "").split(/\n\s*\n/);
  return paragraphs.flatMap((paragraph) => {
    const fields = new Map(
      [...paragraph.matchAll(/^([\w-]+):((?:.*)(?:\n[ \t].*)*)/gm)].map((m) => [
        m[1]?.toLowerCase(),
        m[2] ?? "",
      ]),
    );
    const get = (/** @type {string} */ name) => (fields.get(name) ?? "").trim();
    if (!words(get("types")).includes("deb") || get("enabled") === "no") return [];
    const common = {
      suites: words(get("suites")),
      components: words(get("components")),
      signedBy: get("signed-by"),
    };
    return words(get("uris")).map((uri) => ({ uri, ...common }));
  });
}

/** @param {string} text @returns {string[]} */
function words(text) {
  return text.split(/\s+/).filter(Boolean);
}
