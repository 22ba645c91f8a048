// The files that wait, are sent, are worked on, are done. Two are on their way at a time: one is computed while the
// next one travels.

import { address, getBytes, upload } from "../api.js";
import { isAbort, say } from "../errors.js";
import { percent } from "../format.js";
import { cancel, describe, share, watch } from "../jobs.js";

/** @typedef {import("./files.js").Parcel} Parcel */
/** @typedef {import("../tools.js").Labels} Labels */
/** @typedef {{id: number, name: string, colour: string, pixels: number, area_mm2?: number | null, volume_ml?: number | null, share: number}} Measured */
/**
 * @typedef {object} Result
 * @property {"image" | "volume"} kind
 * @property {number} width
 * @property {number} height
 * @property {number} slices
 * @property {number[] | null} spacing in mm: slices, height, width
 * @property {Measured[]} classes
 * @property {string[]} outputs
 * @property {string[]} warnings
 */
/** @typedef {"waiting" | "sending" | "working" | "done" | "failed" | "stopped"} State */
/**
 * @typedef {object} Item
 * @property {number} id
 * @property {Parcel} parcel
 * @property {string} model
 * @property {State} state
 * @property {string} text what the list says
 * @property {number | null} share of the work, null while nobody knows
 * @property {string | null} job
 * @property {Result | null} result
 * @property {Uint8Array | null} mask the mask of an image as PNG
 * @property {Labels | null} labels the mask, once it was opened
 * @property {import("../history.js").History | null} history
 * @property {boolean} corrected
 * @property {Blob | null} drawing the mask of a volume with corrections
 * @property {AbortController} abort
 */

const AT_ONCE = 2;
const LONGEST_WAIT_S = 30;

export class Queue {
  /** @param {(item: Item) => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {Item[]} */
    this.items = [];
    this.count = 0;
    this.active = 0;
  }

  /** @param {Parcel} parcel @param {string} model @returns {Item} */
  add(parcel, model) {
    this.count += 1;
    /** @type {Item} */
    const item = {
      id: this.count, parcel, model, state: "waiting", text: "waiting", share: null, job: null, result: null, mask: null,
      labels: null, history: null, corrected: false, drawing: null, abort: new AbortController(),
    };
    this.items.push(item);
    this.run();
    return item;
  }

  /** @param {Item} item @param {Partial<Item>} changes */
  change(item, changes) {
    Object.assign(item, changes);
    this.onChange(item);
  }

  run() {
    while (this.active < AT_ONCE) {
      const item = this.items.find((each) => each.state === "waiting");
      if (!item) return;
      this.active += 1;
      this.change(item, { state: "sending", text: "sending", share: null });
      this.process(item).finally(() => {
        this.active -= 1;
        this.run();
      });
    }
  }

  /** @param {Item} item */
  async process(item) {
    try {
      item.job = await this.send(item);
      if (item.abort.signal.aborted) throw new DOMException("stopped", "AbortError");
      const job = await watch(item.job, (state) => {
        this.change(item, { state: "working", text: describe(state), share: share(state) });
      }, item.abort.signal);
      const mask = job.result.outputs.includes("mask.png") ? await getBytes(`jobs/${item.job}/outputs/mask.png`) : null;
      this.change(item, { state: "done", text: summarise(job.result), share: 1, result: job.result, mask });
    } catch (error) {
      if (isAbort(error)) this.change(item, { state: "stopped", text: "cancelled" });
      else this.change(item, { state: "failed", text: say(error) });
    }
  }

  /** @param {Item} item @returns {Promise<string>} the id of the job; waits while the server's queue is full */
  async send(item) {
    for (;;) {
      const form = new FormData();
      form.set("model", item.model);
      for (const file of item.parcel.files) form.append("files", file, file.name);
      try {
        const onProgress = (/** @type {number} */ sent) => this.change(item, { text: sent < 1 ? `sending, ${percent(sent)}` : "reading", share: sent < 1 ? sent : null });
        return (await upload("predict", form, { signal: item.abort.signal, onProgress })).id;
      } catch (error) {
        const busy = /** @type {any} */ (error);
        if (busy.status !== 429) throw error;
        this.change(item, { text: "waiting for a free place", share: null });
        await pause(Math.min(LONGEST_WAIT_S, busy.retryAfter || 2), item.abort.signal);
      }
    }
  }

  /** Stops it here and on the server. @param {Item} item */
  stop(item) {
    item.abort.abort();
    if (item.state === "waiting") this.change(item, { state: "stopped", text: "cancelled" });
    if (item.job) cancel(item.job).catch(() => {}); // gone, or the server is: there is nothing left to stop
  }

  /** @param {Item} item */
  remove(item) {
    if (item.state !== "done" && item.state !== "failed" && item.state !== "stopped") this.stop(item);
    else if (item.job) cancel(item.job).catch(() => {}); // its files go now and not in a quarter of an hour
    this.items = this.items.filter((each) => each !== item);
  }

  /** @param {Item} item @param {string} model */
  again(item, model) {
    const fresh = { result: null, mask: null, labels: null, history: null, corrected: false, drawing: null, job: null };
    this.change(item, { ...fresh, abort: new AbortController(), model, state: "waiting", text: "waiting", share: null });
    this.run();
  }
}

/** @param {number} seconds @param {AbortSignal} signal */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000, undefined);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    }, { once: true });
  });
}

/** @param {Result} result */
function summarise(result) {
  const found = result.classes.filter((item) => item.pixels > 0).map((item) => item.name);
  return found.length > 0 ? found.join(", ") : "nothing found";
}

/** @param {Item} item @param {string} name @returns {string} */
export function outputAddress(item, name) {
  return address(`jobs/${item.job}/outputs/${name}`);
}
