// A picture in halves of its size, so that a large one is drawn from about as many pixels as the screen has.

/** @typedef {import("./view.js").View} View */
/** @typedef {import("./tools.js").Rect} Rect */
/** @typedef {ImageBitmap | HTMLCanvasElement | OffscreenCanvas} Picture */

const SMALLEST = 256; // pixels of the longer side

/** @param {number} width @param {number} height */
function createCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
export function context(canvas) {
  const found = canvas.getContext("2d");
  if (!found) throw new Error("this browser gives no more canvases; close other tabs and reload");
  return found;
}

export class Pyramid {
  /** @param {Picture} source its full size; stays the owner's */
  constructor(source) {
    this.width = source.width;
    this.height = source.height;
    /** @type {Picture[]} */
    this.levels = [source];
    for (let [w, h] = [source.width, source.height]; Math.max(w, h) > SMALLEST; ) {
      [w, h] = [Math.ceil(w / 2), Math.ceil(h / 2)];
      this.levels.push(createCanvas(w, h));
    }
    this.update({ x0: 0, y0: 0, x1: this.width, y1: this.height });
  }

  /** @param {Rect} rect of the full size, which has changed */
  update(rect) {
    let { x0, y0, x1, y1 } = rect;
    for (let level = 1; level < this.levels.length; level += 1) {
      [x0, y0] = [Math.floor(x0 / 2), Math.floor(y0 / 2)];
      [x1, y1] = [Math.ceil(x1 / 2), Math.ceil(y1 / 2)];
      const canvas = /** @type {HTMLCanvasElement} */ (this.levels[level]);
      const to = context(canvas);
      to.clearRect(x0, y0, x1 - x0, y1 - y0);
      to.imageSmoothingEnabled = true;
      to.drawImage(this.levels[level - 1], x0 * 2, y0 * 2, (x1 - x0) * 2, (y1 - y0) * 2, x0, y0, x1 - x0, y1 - y0);
    }
  }

  /**
   * Draws what is on the screen.
   * @param {CanvasRenderingContext2D} to @param {View} view in pixels of `to` @param {boolean} crisp pixels as squares
   */
  draw(to, view, crisp) {
    const level = Math.min(this.levels.length - 1, Math.max(0, Math.floor(Math.log2(1 / view.scale))));
    const step = 2 ** level;
    const [x0, y0] = [Math.max(0, Math.floor(-view.x / view.scale)), Math.max(0, Math.floor(-view.y / view.scale))];
    const x1 = Math.min(this.width, Math.ceil((to.canvas.width - view.x) / view.scale));
    const y1 = Math.min(this.height, Math.ceil((to.canvas.height - view.y) / view.scale));
    if (x1 <= x0 || y1 <= y0) return;
    to.imageSmoothingEnabled = !(crisp && view.scale > 1);
    to.drawImage(
      this.levels[level], x0 / step, y0 / step, (x1 - x0) / step, (y1 - y0) / step,
      x0 * view.scale + view.x, y0 * view.scale + view.y, (x1 - x0) * view.scale, (y1 - y0) * view.scale,
    );
  }

  /** Gives the memory back. */
  close() {
    for (const level of this.levels) {
      if (level instanceof ImageBitmap) level.close();
      else level.width = level.height = 0;
    }
  }
}
