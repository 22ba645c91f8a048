// The images of the project: what was done on each, and how unsure the model is.

import { address } from "../api.js";
import { fileName, fill, h } from "../dom.js";
import { plural } from "../format.js";
import { icon } from "../icons.js";
import { isDone } from "./project.js";

/** @typedef {import("./project.js").Image} Image */

/** @param {Image} image @returns {string} */
function describe(image) {
  if (image.problem) return image.problem;
  if (isDone(image)) return "accepted";
  if (image.accepted > 0) return `${image.accepted} of ${image.slices} accepted`;
  if (image.strokes > 0) return plural(image.strokes, "stroke");
  return image.round > 0 ? "predicted" : image.features === "yes" ? "ready" : "getting ready";
}

export class ImageList {
  /** @param {HTMLElement} element @param {(image: Image) => void} onOpen */
  constructor(element, onOpen) {
    this.element = element;
    this.onOpen = onOpen;
    /** @type {Map<string, {line: HTMLLIElement, text: HTMLElement, end: HTMLElement, open: HTMLButtonElement, key: string}>} */
    this.lines = new Map();
  }

  /** @param {Image[]} images in the order in which they are shown */
  show(images) {
    const most = Math.max(1e-9, ...images.map((image) => image.uncertainty ?? 0));
    const lines = images.map((image) => this.update(image, most));
    if (lines.some((line, index) => this.element.children[index] !== line)) this.element.replaceChildren(...lines);
  }

  /** @param {Image} image @param {number} most largest uncertainty of all */
  update(image, most) {
    const line = this.lines.get(image.id) ?? this.create(image);
    const doubt = image.uncertainty === null || isDone(image) ? null : image.uncertainty / most;
    const key = `${describe(image)} ${doubt?.toFixed(2)}`;
    if (line.key === key) return line.line;
    line.key = key;
    line.line.dataset.state = image.state;
    line.line.classList.toggle("failed", Boolean(image.problem));
    fill(line.text, fileName(image.name.split("/").pop() ?? image.name), h("span", { class: "cut", title: describe(image) }, describe(image)));
    if (isDone(image)) fill(line.end, icon("check"));
    else fill(line.end, doubt !== null && h("span", { class: "unsure", style: `--unsure:${doubt}`, title: "How unsure the model is, beside the other images" }));
    return line.line;
  }

  /** @param {Image} image */
  create(image) {
    const thumb = h("img", { src: address(`teach/images/${image.id}/picture?slice=${Math.floor(image.slices / 2)}&size=96`), alt: "", loading: "lazy", width: 44, height: 44 });
    thumb.addEventListener("error", () => thumb.remove());
    const [text, end] = [h("span", { class: "item-text" }), h("span", {})];
    const open = h("button", { type: "button", class: "item-open", onclick: () => this.onOpen(image) }, h("span", { class: "thumb" }, thumb), text, end);
    const line = { line: h("li", { class: "item", "data-testid": "item" }, open), text, end, open, key: "" };
    this.lines.set(image.id, line);
    return line;
  }

  /** @param {string | null} id */
  mark(id) {
    for (const [each, { line, open }] of this.lines) {
      line.classList.toggle("current", each === id);
      if (each === id) open.setAttribute("aria-current", "true");
      else open.removeAttribute("aria-current");
    }
    if (id) this.lines.get(id)?.line.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}
