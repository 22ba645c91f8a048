// A picture with label maps over it, moved, zoomed and painted on. Canvases in the size of the screen lie on each
// other: the picture (brightness and contrast are a filter of the browser's, which costs nothing per frame), one per
// label map, and the cursor. Drawing happens on animation frames only, and only what changed.

import { h } from "./dom.js";
import { Pointers } from "./pointers.js";
import { LabelLayer } from "./label_layer.js";
import { Pyramid, context } from "./pyramid.js";
import { fit, hold, toImage, toScreen, zoom } from "./view.js";
import { windowFilter } from "./window.js";

/** @typedef {import("./view.js").Point} Point */
/** @typedef {import("./tools.js").Labels} Labels */
/** @typedef {import("./tools.js").Rect} Rect */
/**
 * What the pointer does to the image; points are in image pixels.
 * @typedef {object} Tool
 * @property {(at: Point) => void} start
 * @property {(points: Point[]) => void} move
 * @property {() => void} end
 * @property {() => void} cancel
 * @property {number | null} radius of the ring around the pointer, in image pixels
 * @property {Point[]} outline of a polygon that is not closed yet
 */

const MOST_DENSE = 2; // device pixels per CSS pixel that are worth drawing

export class Viewer {
  /**
   * @param {HTMLElement} host filled by the viewer; gets the keyboard focus
   * @param {{onView?: () => void, onWheel?: (event: WheelEvent) => boolean, onWindow?: (dx: number, dy: number) => void}} options
   *   `onWheel` takes the wheel for itself (slices) by answering true, `onWindow` gets drags with the right button
   */
  constructor(host, options = {}) {
    this.host = host;
    this.options = options;
    this.canvases = ["picture", "cursor"].map((name) => h("canvas", { class: `canvas-${name}`, "aria-hidden": "true" }));
    host.append(...this.canvases);
    /** @type {Pyramid | null} */
    this.picture = null;
    /** @type {Map<string, LabelLayer>} */
    this.layers = new Map();
    /** @type {import("./view.js").View} */
    this.view = { scale: 1, x: 0, y: 0 };
    this.fitted = true;
    this.margins = { side: 16, top: 64, bottom: 16 }; // what lies over the image at its edges
    /** @type {Tool | null} */
    this.tool = null;
    /** @type {Point | null} where the cursor is, in image pixels */
    this.cursor = null;
    this.dirty = new Set(["picture", "labels", "cursor"]);
    this.frame = 0;
    this.pointers = new Pointers(this);
    new ResizeObserver(() => this.resize()).observe(host);
    this.resize();
  }

  /** @returns {import("./view.js").Size} of the screen, in CSS pixels */
  get screen() {
    return { width: this.host.clientWidth, height: this.host.clientHeight };
  }

  get density() {
    return Math.min(MOST_DENSE, window.devicePixelRatio || 1);
  }

  resize() {
    const { width, height } = this.screen;
    const [wide, high] = [Math.max(1, Math.round(width * this.density)), Math.max(1, Math.round(height * this.density))];
    for (const canvas of this.canvases) [canvas.width, canvas.height] = [wide, high];
    for (const layer of this.layers.values()) layer.resize(wide, high);
    if (this.fitted) this.fit();
    else this.setView(this.view);
    this.paint(); // at once: a canvas is empty after it got a new size
  }

  /**
   * @param {import("./pyramid.js").Picture | null} source is the viewer's from now on
   * @param {boolean} keep the place, for another slice of the same volume
   */
  setImage(source, keep = false) {
    this.picture?.close();
    this.picture = source ? new Pyramid(source) : null;
    if (!keep) {
      for (const name of [...this.layers.keys()]) this.setLayer(name, null);
      this.cursor = null;
      this.fit();
    }
    this.redraw("picture");
  }

  /**
   * @param {string} name layers lie on each other in the order in which they first came
   * @param {Labels | null} labels null takes the layer away
   * @param {Uint32Array} palette 256 pixels
   */
  setLayer(name, labels, palette = new Uint32Array(256)) {
    const before = this.layers.get(name);
    if (labels) {
      const layer = new LabelLayer(labels, palette);
      layer.canvas.style.opacity = before?.canvas.style.opacity ?? "1";
      layer.resize(this.canvases[0].width, this.canvases[0].height);
      this.host.insertBefore(layer.canvas, before?.canvas ?? this.canvases[1]);
      this.layers.set(name, layer);
    } else this.layers.delete(name);
    before?.close();
    this.redraw("labels");
  }

  /** @param {string} name @param {Rect | null} rect what has changed in its labels */
  updateLayer(name, rect) {
    this.layers.get(name)?.touch(rect);
    this.redraw();
  }

  /** @param {string} name @param {Uint32Array} palette */
  setPalette(name, palette) {
    const layer = this.layers.get(name);
    if (layer) layer.palette = palette;
    this.redraw("labels");
  }

  /** @param {string} name @param {number} opacity 0 to 1 */
  setOpacity(name, opacity) {
    const layer = this.layers.get(name);
    if (layer) layer.opacity = opacity;
  }

  /** @param {number} low @param {number} high values 0 to 255 that become black and white */
  setWindow(low, high) {
    this.canvases[0].style.filter = windowFilter(low, high);
  }

  fit() {
    this.fitted = true;
    if (this.picture) this.setView(fit(this.picture, this.screen, this.margins), true);
  }

  /** @param {import("./view.js").View} view @param {boolean} fitted */
  setView(view, fitted = this.fitted) {
    this.fitted = fitted;
    this.view = this.picture ? hold(view, this.picture, this.screen) : view;
    this.options.onView?.();
    this.redraw("picture", "labels", "cursor");
  }

  /** @param {number} factor @param {Point} at on the screen; the middle unless told */
  zoomBy(factor, at = [this.screen.width / 2, this.screen.height / 2]) {
    this.setView(zoom(this.view, factor, at), false);
  }

  /** @param {number} dx @param {number} dy in CSS pixels */
  panBy(dx, dy) {
    this.setView({ ...this.view, x: this.view.x + dx, y: this.view.y + dy }, false);
  }

  /** @param {Point} at on the screen */
  screenToImage(at) {
    return toImage(this.view, at);
  }

  /** @param {Tool | null} tool null moves the image */
  setTool(tool) {
    this.tool?.cancel();
    this.tool = tool;
    this.host.dataset.tool = tool ? (tool.radius === null ? "point" : "ring") : "hand";
    this.redraw("cursor");
  }

  /** @param {...("picture" | "labels" | "cursor")} what on the next animation frame */
  redraw(...what) {
    for (const name of what) this.dirty.add(name);
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { scale, x, y } = this.view;
    const view = { scale: scale * this.density, x: x * this.density, y: y * this.density };
    if (this.dirty.has("picture")) this.clear(0, (to) => this.picture?.draw(to, view, true));
    for (const layer of this.layers.values()) layer.paint(view, this.dirty.has("labels"));
    if (this.dirty.has("cursor")) this.clear(1, (to) => this.paintCursor(to));
    this.dirty.clear();
  }

  /** @param {number} index @param {(to: CanvasRenderingContext2D) => void} draw */
  clear(index, draw) {
    const canvas = this.canvases[index];
    const to = context(canvas);
    to.setTransform(1, 0, 0, 1, 0, 0);
    to.globalAlpha = 1;
    to.clearRect(0, 0, canvas.width, canvas.height);
    draw(to);
  }

  /** @param {CanvasRenderingContext2D} to */
  paintCursor(to) {
    to.scale(this.density, this.density);
    if (this.tool?.outline.length) this.paintOutline(to, this.tool.outline);
    if (!this.cursor || !this.tool) return;
    const [x, y] = toScreen(this.view, this.cursor);
    const radius = Math.max(2, (this.tool.radius ?? 0) * this.view.scale);
    to.beginPath();
    if (this.tool.radius === null) to.rect(x - 4, y - 0.5, 8, 1);
    if (this.tool.radius === null) to.rect(x - 0.5, y - 4, 1, 8);
    else to.arc(x, y, radius, 0, 2 * Math.PI);
    strokeTwice(to);
  }

  /** @param {CanvasRenderingContext2D} to @param {Point[]} outline */
  paintOutline(to, outline) {
    const points = [...outline, ...(this.cursor ? [this.cursor] : [])].map((point) => toScreen(this.view, point));
    to.beginPath();
    points.forEach(([x, y], index) => (index === 0 ? to.moveTo(x, y) : to.lineTo(x, y)));
    strokeTwice(to);
    to.beginPath();
    to.arc(points[0][0], points[0][1], 5, 0, 2 * Math.PI);
    strokeTwice(to);
  }
}

/** @param {CanvasRenderingContext2D} to black and white, to be seen on anything */
function strokeTwice(to) {
  to.lineWidth = 3;
  to.strokeStyle = "rgb(0 0 0 / 60%)";
  to.stroke();
  to.lineWidth = 1.25;
  to.strokeStyle = "#fff";
  to.stroke();
}
