// One image with its mask on the stage: shown, corrected, measured again.

import { request } from "../api.js";
import { context } from "../pyramid.js";
import { palette } from "../colours.js";
import { History } from "../history.js";
import { Painting } from "../painting.js";
import { decodePng } from "../png.js";
import { count } from "../tools.js";
import { Viewer } from "../viewer.js";
import { h } from "../dom.js";

/** @typedef {import("./queue.js").Item} Item */
/** @typedef {import("./queue.js").Measured} Measured */

const LAYER = "mask";

/** What may be shown from the file itself: 8 bits, in a format of browsers. @param {File} file */
export async function openLocally(file) {
  if (/\.png$/i.test(file.name)) {
    const head = new Uint8Array(await file.slice(24, 25).arrayBuffer());
    if (head[0] > 8) return null; // 16 bits: a browser shows the upper eight only
  }
  return createImageBitmap(file).catch(() => null);
}

export class ImageScene {
  /**
   * @param {HTMLElement} host
   * @param {{radius: () => number, paintClass: () => number, onChange: () => void, onView: () => void,
   *   onWindow: (dx: number, dy: number) => void, onHint: (message: string) => void}} actions
   */
  constructor(host, actions) {
    this.actions = actions;
    this.viewer = new Viewer(host, { onView: actions.onView, onWindow: actions.onWindow });
    /** @type {Item | null} */
    this.item = null;
    /** @type {Set<number>} */
    this.hidden = new Set();
    this.painting = new Painting(this.viewer, {
      layer: LAYER,
      labels: () => this.item?.labels ?? null,
      seen: () => this.item?.labels ?? null,
      history: () => this.item?.history ?? null,
      value: (tool) => (tool === "eraser" ? 0 : actions.paintClass()),
      radius: actions.radius,
      onStroke: () => this.changed(),
      onHint: actions.onHint,
    });
  }

  /** @param {Item} item a later call for another item wins */
  async open(item) {
    const same = this.item === item && this.viewer.picture !== null;
    if (!same) this.close();
    this.item = item;
    const picture = await this.findPicture(item, same);
    if (this.item !== item) return picture?.close();
    if (picture) this.viewer.setImage(picture);
    if (!item.labels && item.mask) await this.openMask(item);
    if (this.item === item) this.showMask();
    return undefined;
  }

  /** @param {Item} item @param {boolean} same the picture of this item is already shown */
  async findPicture(item, same) {
    const { result } = item;
    const fits = (/** @type {{width: number, height: number} | null} */ size) => !result || (size?.width === result.width && size.height === result.height);
    const read = result?.outputs.includes("image.png"); // what the server read, where a browser shows it differently or not at all
    if (same && fits(this.viewer.picture) && !read) return null;
    if (read) return createImageBitmap(await (await request(`jobs/${item.job}/outputs/image.png`)).blob());
    const local = await openLocally(item.parcel.files[0]);
    if (fits(local)) return local;
    local?.close();
    return createImageBitmap(item.parcel.files[0], { imageOrientation: "none" }); // stored turned, and read as stored
  }

  /** @param {Item} item */
  async openMask(item) {
    item.labels = await decodePng(/** @type {Uint8Array} */ (item.mask));
    item.history = new History(item.labels);
  }

  showMask() {
    const item = this.item;
    if (item?.labels && item.result) this.viewer.setLayer(LAYER, item.labels, palette(item.result.classes, this.hidden));
    this.actions.onChange();
  }

  /** Shows nothing; forgets a mask that can be decoded again. */
  close() {
    if (this.item && !this.item.corrected) this.item.labels = this.item.history = null;
    this.item = null;
    this.viewer.setImage(null);
  }

  changed() {
    if (this.item) this.item.corrected = this.item.history?.canUndo ?? false;
    this.actions.onChange();
  }

  /** @param {"undo" | "redo"} what */
  step(what) {
    const rect = this.item?.history?.[what]() ?? null;
    this.viewer.updateLayer(LAYER, rect);
    this.changed();
  }

  /** @param {Set<number>} hidden */
  setHidden(hidden) {
    this.hidden = hidden;
    if (this.item?.result) this.viewer.setPalette(LAYER, palette(this.item.result.classes, hidden));
  }

  /** @param {number} opacity */
  setOpacity(opacity) {
    this.viewer.setOpacity(LAYER, opacity);
  }

  /** @param {number} opacity @returns {Promise<Blob>} the picture with the mask on it, native size */
  async overlay(opacity) {
    const picture = this.viewer.picture;
    if (!picture || !this.viewer.layers.has(LAYER)) throw new Error("there is no mask to show yet");
    const canvas = h("canvas", { width: picture.width, height: picture.height });
    const to = context(canvas);
    to.filter = this.viewer.canvases[0].style.filter || "none";
    to.drawImage(picture.levels[0], 0, 0);
    to.filter = "none";
    to.globalAlpha = opacity;
    to.drawImage(/** @type {HTMLCanvasElement} */ (this.viewer.layers.get(LAYER)?.toCanvas()), 0, 0);
    return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("this browser cannot write a picture of this size; download the mask instead"))), "image/png"));
  }
}

/**
 * Sizes after corrections, from the pixels.
 * @param {import("./queue.js").Result} result @param {Uint8Array} labels
 * @returns {Measured[]}
 */
export function measure(result, labels) {
  const counts = count(labels);
  return result.classes.map((item) => {
    const pixels = counts[item.id];
    const times = item.pixels > 0 ? pixels / item.pixels : null; // sizes grow with the pixels
    const [dx, dy, dz] = [...(result.spacing ?? [])].reverse();
    const square = dx && dy ? pixels * dx * dy : times && item.area_mm2 ? item.area_mm2 * times : null;
    const cube = dx && dy && dz ? (pixels * dx * dy * dz) / 1000 : times && item.volume_ml ? item.volume_ml * times : null;
    return { ...item, pixels, share: pixels / labels.length, area_mm2: result.kind === "image" ? square : null, volume_ml: result.kind === "volume" ? cube : null };
  });
}
