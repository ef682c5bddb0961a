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
  #waiting = [];
  #send = (message) => this.#waiting.push(message);
  #thread;

  constructor(url) {
    void this.#start(resolveObjectURL(url));
  }

  async #start(blob) {
    const thread = new NodeWorker(INSIDE + (await blob.text()), { eval: true });
    thread.unref();
    thread.on("message", (data) => this.onmessage?.({ data }));
    thread.on("error", (error) => this.onerror?.(error));
    this.#thread = thread;
    this.#send = thread.postMessage.bind(thread);
    for (const message of this.#waiting) this.#send(message);
  }

  postMessage(message) {
    this.#send(message);
  }

  terminate() {
    void this.#thread?.terminate();
  }
}
