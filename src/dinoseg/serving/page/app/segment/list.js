// The list at the side: one line per file, with what happens to it.

import { fileName, fill, h } from "../dom.js";
import { icon } from "../icons.js";
import { progressBar } from "../chrome.js";

/** @typedef {import("./queue.js").Item} Item */

const THUMB = 88;
const OVER = ["done", "failed", "stopped"];
const SYMBOLS = { image: "image", volume: "cube", series: "cube", archive: "cube" };

export class List {
  /** @param {HTMLElement} element @param {{open: (item: Item) => void, close: (item: Item) => void}} actions */
  constructor(element, actions) {
    this.element = element;
    this.actions = actions;
    /** @type {Map<number, {line: HTMLLIElement, text: HTMLElement, open: HTMLButtonElement, close: HTMLButtonElement}>} */
    this.lines = new Map();
    this.thumbs = Promise.resolve();
  }

  /** @param {Item} item */
  add(item) {
    const thumb = h("span", { class: "thumb" }, icon(SYMBOLS[item.parcel.kind]));
    const text = h("span", { class: "item-text" });
    const open = h("button", { type: "button", class: "item-open", onclick: () => this.actions.open(item) }, thumb, text);
    const close = h("button", { type: "button", class: "icon-button slim", onclick: () => this.actions.close(item) }, icon("close"));
    const line = h("li", { class: "item", "data-testid": "item" }, open, close);
    this.lines.set(item.id, { line, text, open, close });
    this.element.append(line);
    this.update(item);
    if (item.parcel.kind === "image") this.thumbs = this.thumbs.then(() => drawThumb(thumb, item.parcel.files[0]));
  }

  /** @param {Item} item */
  update(item) {
    const line = this.lines.get(item.id);
    if (!line) return;
    const over = OVER.includes(item.state);
    const text = item.corrected ? `${item.text} · corrected` : item.text;
    fill(line.text, fileName(item.parcel.name), h("span", { class: "cut", title: text }, text),
      !over && item.state !== "waiting" && progressBar(`Progress of ${item.parcel.name}`, item.share));
    line.line.classList.toggle("failed", item.state === "failed");
    line.line.dataset.state = item.state;
    const label = over ? `Remove ${item.parcel.name} from the list` : `Cancel ${item.parcel.name}`;
    line.close.setAttribute("aria-label", label);
    line.close.title = over ? "Remove" : "Cancel";
  }

  /** @param {Item} item */
  remove(item) {
    this.lines.get(item.id)?.line.remove();
    this.lines.delete(item.id);
  }

  /** @param {Item | null} current */
  mark(current) {
    for (const [id, { line, open }] of this.lines) {
      line.classList.toggle("current", id === current?.id);
      if (id === current?.id) open.setAttribute("aria-current", "true");
      else open.removeAttribute("aria-current");
    }
    if (current) this.lines.get(current.id)?.line.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

/** @param {HTMLElement} place @param {File} file a format that the browser cannot show keeps its symbol */
async function drawThumb(place, file) {
  const bitmap = await createImageBitmap(file, { resizeHeight: THUMB, resizeQuality: "medium" }).catch(() => null);
  if (!bitmap) return;
  const canvas = h("canvas", { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  bitmap.close();
  fill(place, canvas);
}
