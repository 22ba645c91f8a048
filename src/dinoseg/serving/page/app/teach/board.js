// One image of the project on the stage: the picture, what the model predicts, and the strokes on top.

import { getBytes, getJson, request, send } from "../api.js";
import { palette } from "../colours.js";
import { isAbort } from "../errors.js";
import { History } from "../history.js";
import { Painting, replay } from "../painting.js";
import { decodePng } from "../png.js";
import { UNPAINTED } from "../tools.js";
import { Viewer } from "../viewer.js";

/** @typedef {import("./project.js").Image} Image */
/** @typedef {import("../tools.js").Labels} Labels */
/** @typedef {import("../colours.js").LabelClass} LabelClass */
/**
 * @typedef {object} Actions
 * @property {() => number} radius
 * @property {() => number} paintClass
 * @property {(image: Image, stroke: Record<string, unknown> & {client: string}) => void} onStroke
 * @property {(image: Image) => {stroke: Record<string, any>}[]} pending strokes that the server does not have yet
 * @property {(dx: number, dy: number) => void} onWindow
 * @property {(event: WheelEvent) => boolean} onWheel
 * @property {(message: string) => void} onHint
 * @property {(error: unknown) => void} onError
 */

export const BACKGROUND = "#9fb0c0";

export class Board {
  /** @param {HTMLElement} host @param {Actions} actions */
  constructor(host, actions) {
    this.actions = actions;
    this.viewer = new Viewer(host, { onWindow: actions.onWindow, onWheel: actions.onWheel });
    /** @type {Image | null} */
    this.image = null;
    this.slice = 0;
    /** @type {{range: [number, number], window: [number, number]}} */
    this.meta = { range: [0, 255], window: [0, 255] };
    /** @type {[number, number]} of the picture that the server sent */
    this.sent = [0, 255];
    /** @type {LabelClass[]} */
    this.classes = [];
    /** @type {Labels | null} */
    this.strokes = null;
    /** @type {Labels | null} */
    this.prediction = null;
    /** @type {History | null} */
    this.history = null;
    this.opacity = { prediction: 0.4, strokes: 0.9 };
    this.loading = new AbortController();
    this.painting = new Painting(this.viewer, {
      layer: "strokes",
      labels: () => this.strokes,
      history: () => this.history,
      seen: () => this.visible(),
      value: (tool) => (tool === "eraser" ? UNPAINTED : actions.paintClass()),
      radius: actions.radius,
      onStroke: (stroke) => this.post(stroke),
      onHint: actions.onHint,
    });
  }

  /** @param {string} what @param {Record<string, number>} query @returns {string} */
  path(what, query = {}) {
    const fields = new URLSearchParams(Object.entries({ slice: this.slice, ...query }).map(([key, value]) => [key, String(value)]));
    return `teach/images/${this.image?.id}/${what}?${fields}`;
  }

  /** @param {Image} image @param {number} slice */
  async open(image, slice) {
    this.loading.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    const same = this.image?.id === image.id;
    [this.image, this.slice] = [image, slice];
    if (!same) {
      this.meta = await getJson(`teach/images/${image.id}/meta`, { signal });
      this.viewer.setWindow(0, 255);
    }
    const [picture, labels, prediction] = await Promise.all([this.readPicture(signal), this.readLabels(signal), this.readPrediction(signal)]);
    if (signal.aborted) return picture.close();
    this.viewer.margins.bottom = image.slices > 1 ? 64 : 16;
    this.viewer.setImage(picture, same);
    this.showPrediction(prediction);
    this.showLabels(labels);
    return undefined;
  }

  /** Stored values of more than 8 bits are windowed by the server. */
  get isDeep() {
    const [low, high] = this.meta.range;
    return (this.image?.slices ?? 1) > 1 || low < 0 || high > 255;
  }

  /** @param {AbortSignal} signal */
  async readPicture(signal) {
    const [low, high] = this.meta.window;
    this.sent = this.isDeep ? [low, high] : [0, 255];
    const response = await request(this.path("picture", this.isDeep ? { low, high } : {}), { signal });
    return createImageBitmap(await response.blob());
  }

  /** @param {AbortSignal} signal */
  async readLabels(signal) {
    return decodePng(await getBytes(this.path("labels"), { signal }));
  }

  /** @param {AbortSignal} signal @returns {Promise<Labels | null>} */
  async readPrediction(signal) {
    if (!this.image || (this.image.round === 0 && this.image.state !== "accepted")) return null;
    return getBytes(this.path("prediction"), { signal }).then(decodePng, (error) => {
      if (error.status === 404) return null;
      throw error;
    });
  }

  /** @param {Labels} labels of the server; what it does not have yet is drawn on top */
  showLabels(labels) {
    for (const { stroke } of this.image ? this.actions.pending(this.image) : []) {
      if (stroke.slice !== this.slice) continue;
      replay(labels, { tool: stroke.tool, value: stroke.tool === "eraser" ? UNPAINTED : stroke.class, radius: stroke.radius, points: stroke.points, runs: stroke.runs ?? [] });
    }
    this.strokes = labels;
    this.history = new History(labels);
    this.viewer.setLayer("strokes", labels, palette(this.classes, new Set(), BACKGROUND));
    this.viewer.setOpacity("strokes", this.opacity.strokes);
  }

  /** @param {Labels | null} labels */
  showPrediction(labels) {
    this.prediction = labels;
    const [width, height] = [this.image?.width ?? 1, this.image?.height ?? 1];
    const shown = labels ?? { data: new Uint8Array(width * height), width, height };
    this.viewer.setLayer("prediction", shown, palette(this.classes));
    this.viewer.setOpacity("prediction", this.opacity.prediction);
  }

  /** Reads the prediction again; the newest request wins. */
  async refreshPrediction() {
    const { signal } = this.loading;
    const prediction = await this.readPrediction(signal).catch((error) => this.fail(error));
    if (!signal.aborted && prediction) this.showPrediction(prediction);
  }

  /** Reads the strokes again, when nobody is in the middle of one. */
  async refreshLabels() {
    const { signal } = this.loading;
    const labels = await this.readLabels(signal).catch((error) => this.fail(error));
    if (signal.aborted || !labels) return;
    if (this.viewer.pointers.doing === "tool" || this.viewer.pointers.keyDown) setTimeout(() => this.refreshLabels(), 250);
    else this.showLabels(labels);
  }

  /** @param {unknown} error */
  fail(error) {
    if (!isAbort(error)) this.actions.onError(error);
    return null;
  }

  /** @returns {Labels | null} what a fill goes by: the stroke where there is one, else the prediction */
  visible() {
    const { strokes, prediction } = this;
    if (!strokes || !prediction) return strokes;
    const data = strokes.data.map((value, index) => (value === UNPAINTED ? 128 + prediction.data[index] : value));
    return { ...strokes, data };
  }

  /** @param {import("../painting.js").Stroke} stroke */
  post(stroke) {
    if (!this.image) return;
    const { tool, radius, points, runs } = stroke;
    this.actions.onStroke(this.image, {
      client: crypto.randomUUID?.() ?? makeUuid(), slice: this.slice, class: this.actions.paintClass(), tool, radius, points,
      ...(tool === "fill" ? { runs } : {}),
    });
  }

  /** @param {LabelClass[]} classes */
  setClasses(classes) {
    this.classes = classes;
    this.viewer.setPalette("strokes", palette(classes, new Set(), BACKGROUND));
    this.viewer.setPalette("prediction", palette(classes));
  }

  /** @param {"prediction" | "strokes"} layer @param {number} opacity */
  setOpacity(layer, opacity) {
    this.opacity[layer] = opacity;
    this.viewer.setOpacity(layer, opacity);
  }

  /** Shows another window at once, by the picture that is there. @param {number} low @param {number} high */
  setWindow(low, high) {
    this.meta = { ...this.meta, window: [low, Math.max(low + 1e-6, high)] };
    const scale = 255 / (this.sent[1] - this.sent[0]);
    this.viewer.setWindow((low - this.sent[0]) * scale, (high - this.sent[0]) * scale);
  }

  /** The picture from the server, with all the grey values that the window has. */
  async refreshPicture() {
    if (!this.isDeep) return;
    const { signal } = this.loading;
    const picture = await this.readPicture(signal).catch((error) => this.fail(error));
    if (!picture || signal.aborted) return;
    this.viewer.setImage(picture, true);
    this.viewer.setWindow(0, 255);
  }

  /** @param {"accept" | "reopen"} what @param {number | null} slice null = the whole image */
  async decide(what, slice) {
    if (!this.image) return;
    await send("POST", `teach/images/${this.image.id}/${what}`, what === "accept" ? { slice } : undefined);
  }

  /** Takes the newest stroke, which never left, off the screen. */
  dropNewest() {
    this.viewer.updateLayer("strokes", this.history?.undo() ?? null);
  }
}

/** A page from another machine is not a secure context and has no randomUUID. */
function makeUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const text = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}
