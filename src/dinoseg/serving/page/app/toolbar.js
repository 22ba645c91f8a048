// The row of tools over the image: which one is in hand, how large the brush is.

import { byId, el } from "./dom.js";

/** @typedef {import("./painting.js").ToolName | "hand"} Choice */

/**
 * The slider of the brush is finer where brushes are small.
 * @param {number} slider 1 to 100 @returns {number} diameter in image pixels
 */
export function diameter(slider) {
  return Math.max(1, Math.round(slider < 20 ? slider : 20 * 1.032 ** (slider - 20)));
}

export class Toolbar {
  /** @param {{onTool: (tool: Choice) => void, onSize: () => void}} actions */
  constructor({ onTool, onSize }) {
    this.onTool = onTool;
    this.onSize = onSize;
    /** @type {Choice} */
    this.tool = "hand";
    this.slider = byId("size", HTMLInputElement);
    this.buttons = /** @type {HTMLButtonElement[]} */ ([...el("tools").querySelectorAll("[data-tool]")]);
    for (const button of this.buttons) button.addEventListener("click", () => this.choose(/** @type {Choice} */ (button.dataset.tool)));
    this.slider.addEventListener("input", () => this.resize(0));
    this.resize(0);
  }

  /** @param {Choice} tool */
  choose(tool) {
    this.tool = tool;
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    el("size-pick").hidden = tool !== "brush" && tool !== "eraser";
    this.onTool(tool);
  }

  /** @returns {number} in image pixels */
  get radius() {
    return diameter(Number(this.slider.value)) / 2;
  }

  /** @returns {number} of the slider */
  get position() {
    return Number(this.slider.value);
  }

  /** @param {number} steps of the slider */
  resize(steps) {
    this.slider.value = String(Number(this.slider.value) + steps);
    el("size-out").textContent = String(diameter(Number(this.slider.value)));
    this.slider.setAttribute("aria-valuetext", `${diameter(Number(this.slider.value))} pixels`);
    this.onSize();
  }

  /** @param {boolean} undo @param {boolean} redo */
  setHistory(undo, redo) {
    byId("undo", HTMLButtonElement).disabled = !undo;
    byId("redo", HTMLButtonElement).disabled = !redo;
  }
}
