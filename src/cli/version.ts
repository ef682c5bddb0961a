/** The version of this package. */
import { packageUrl, readText } from "../host.ts";

/** As in package.json. */
export async function version(): Promise<string> {
  const manifest = JSON.parse(await readText(packageUrl("package.json"))) as { version: string };
  return manifest.version;
}
