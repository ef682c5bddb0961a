/** A browser's Worker on Node's threads, as far as jax-js needs one: its wasm kernels then run on several cores. */
import { resolveObjectURL } from "node:buffer";
import { Worker as NodeWorker } from "node:worker_threads";

const INSIDE = `
const { parentPort } = require("node:worker_threads");
globalThis.self = globalThis;
globalThis.postMessage = (data) => parentPort.postMessage(data);
parentPort.on("message", (data) => globalThis.onmessage({ data }));
`;

export class WebWorker {
  #messages = [];
  #thread;

  constructor(url) {
    void this.#start(resolveObjectURL(url));
  }

  async #start(blob) {
    this.#thread = new NodeWorker(INSIDE + (await blob.text()), { eval: true });
    this.#thread.unref();
    this.#thread.on("message", (data) => this.onmessage?.({ data }));
    this.#thread.on("error", (error) => this.onerror?.(error));
    for (const message of this.#messages) this.#thread.postMessage(message);
  }

  postMessage(message) {
    if (this.#thread) this.#thread.postMessage(message);
    else this.#messages.push(message);
  }

  terminate() {
    void this.#thread?.terminate();
  }
}
