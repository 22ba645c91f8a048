// A label map on the screen. Each frame looks up, for the pixels of the screen, which label lies there: the work
// depends on the screen and not on the image, and while somebody paints only the part that changed is looked up.

import { h } from "./dom.js";
import { context } from "./pyramid.js";
import { join } from "./tools.js";

/** @typedef {import("./view.js").View} View */
/** @typedef {import("./tools.js").Labels} Labels */
/** @typedef {import("./tools.js").Rect} Rect */

/**
 * Where a label of the image is on the screen, the other way round.
 * @param {number} from first pixel of the screen @param {number} to @param {number} offset of the image
 * @param {number} scale @param {number} size of the image
 * @returns {Int32Array} for each pixel of the screen the one of the image, -1 outside
 */
export function lookUp(from, to, offset, scale, size) {
  return Int32Array.from({ length: Math.max(0, to - from) }, (_, index) => {
    const at = Math.floor((from + index + 0.5 - offset) / scale);
    return at >= 0 && at < size ? at : -1;
  });
}

/**
 * @param {Labels} labels @param {Uint32Array} palette @param {View} view @param {Rect} part of the screen
 * @param {Uint32Array} pixels of the screen, are changed @param {number} width of the screen
 */
export function drawLabels({ data, width: wide, height }, palette, view, part, pixels, width) {
  const columns = lookUp(part.x0, part.x1, view.x, view.scale, wide);
  const rows = lookUp(part.y0, part.y1, view.y, view.scale, height);
  for (let y = 0; y < rows.length; y += 1) {
    const to = (part.y0 + y) * width + part.x0;
    if (rows[y] < 0) {
      pixels.fill(0, to, to + columns.length);
      continue;
    }
    const from = rows[y] * wide;
    for (let x = 0; x < columns.length; x += 1) pixels[to + x] = columns[x] < 0 ? 0 : palette[data[from + columns[x]]];
  }
}

export class LabelLayer {
  /** @param {Labels} labels shared: change it, then call `touch` @param {Uint32Array} palette 256 pixels */
  constructor(labels, palette) {
    this.labels = labels;
    this.palette = palette;
    this.canvas = h("canvas", { class: "canvas-labels", "aria-hidden": "true" });
    /** @type {Rect | null} what changed since it was drawn, in image pixels */
    this.changed = null;
    this.pixels = new ImageData(1, 1);
  }

  /** @param {Rect | null} rect */
  touch(rect) {
    this.changed = join(this.changed, rect);
  }

  /** @param {number} opacity 0 to 1; the browser blends, which costs nothing here */
  set opacity(opacity) {
    this.canvas.style.opacity = String(opacity);
  }

  /** @param {number} width @param {number} height of the screen */
  resize(width, height) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.pixels = new ImageData(width, height);
  }

  /** @param {View} view in pixels of the canvas @param {boolean} all not only what changed */
  paint(view, all) {
    const { width, height } = this.canvas;
    const screen = { x0: 0, y0: 0, x1: width, y1: height };
    const part = all ? screen : this.changed && onScreen(this.changed, view, screen);
    this.changed = null;
    if (!part || part.x0 >= part.x1 || part.y0 >= part.y1) return;
    drawLabels(this.labels, this.palette, view, part, new Uint32Array(this.pixels.data.buffer), width);
    context(this.canvas).putImageData(this.pixels, 0, 0, part.x0, part.y0, part.x1 - part.x0, part.y1 - part.y0);
  }

  /** @returns {HTMLCanvasElement} in the size of the image, for a file */
  toCanvas() {
    const { data, width, height } = this.labels;
    const canvas = h("canvas", { width, height });
    const pixels = new ImageData(width, height);
    const words = new Uint32Array(pixels.data.buffer);
    for (let index = 0; index < data.length; index += 1) words[index] = this.palette[data[index]];
    context(canvas).putImageData(pixels, 0, 0);
    return canvas;
  }

  close() {
    this.canvas.remove();
    this.canvas.width = this.canvas.height = 0;
  }
}

/** @param {Rect} rect of the image @param {View} view @param {Rect} screen @returns {Rect} */
function onScreen(rect, { scale, x, y }, screen) {
  return {
    x0: Math.max(screen.x0, Math.floor(rect.x0 * scale + x) - 1), y0: Math.max(screen.y0, Math.floor(rect.y0 * scale + y) - 1),
    x1: Math.min(screen.x1, Math.ceil(rect.x1 * scale + x) + 1), y1: Math.min(screen.y1, Math.ceil(rect.y1 * scale + y) + 1),
  };
}
