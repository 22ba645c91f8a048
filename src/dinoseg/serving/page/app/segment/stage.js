// What is on the stage: the image or the volume of the current item, the tools over it, the result beside it, or how
// far the work is. Knows of one item at a time.

import { button, notify, progressLine } from "../chrome.js";
import { el, byId, fill, h, save, show } from "../dom.js";
import { isAbort, say } from "../errors.js";
import { stem } from "../format.js";
import { icon } from "../icons.js";
import { encodePng } from "../png.js";
import { request } from "../api.js";
import { Toolbar } from "../toolbar.js";
import { outputAddress } from "./queue.js";
import { ImageScene, measure } from "./scene.js";
import { renderSide } from "./side.js";
import { VIEWS, VolumeScene } from "./volume.js";

/** @typedef {import("./queue.js").Item} Item */

export class Stage {
  /** @param {{onCorrected: (item: Item) => void, onAgain: (item: Item) => void, onCancel: (item: Item) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {Item | null} */
    this.item = null;
    /** @type {(ReturnType<typeof progressLine> & {item: Item}) | null} */
    this.line = null;
    this.look = { hidden: /** @type {Set<number>} */ (new Set()), paint: 1, opacity: 0.5, window: /** @type {[number, number]} */ ([0, 255]) };
    this.image = new ImageScene(el("viewer"), {
      radius: () => this.toolbar.radius, paintClass: () => this.look.paint, onChange: () => this.onChange(), onView: () => this.placeChip(),
      onWindow: (dx, dy) => this.dragWindow(dx, dy), onHint: (message) => notify(message),
    });
    this.volume = new VolumeScene(byId("volume", HTMLCanvasElement), {
      onChange: () => this.renderSide(), onDraw: () => this.onDraw(), onPlace: (text) => this.say(text),
    });
    this.toolbar = new Toolbar({ onTool: (tool) => this.chooseTool(tool), onSize: () => this.chooseTool(this.toolbar?.tool ?? "hand") });
    this.wire();
  }

  wire() {
    el("undo").addEventListener("click", () => this.undo());
    el("redo").addEventListener("click", () => this.redo());
    el("zoom-in").addEventListener("click", () => this.zoom(1.4));
    el("zoom-out").addEventListener("click", () => this.zoom(1 / 1.4));
    el("zoom-fit").addEventListener("click", () => this.fit());
    fill(el("plane-tools"), VIEWS.map(([view, name]) => h("button", {
      type: "button", class: "tool", "aria-pressed": String(view === 3), "data-view": view, onclick: () => this.chooseView(view),
    }, name)));
    this.toolbar.choose("hand");
  }

  get isVolume() {
    return this.item?.result?.kind === "volume";
  }

  get scene() {
    return this.isVolume ? this.volume : this.image;
  }

  /** @param {Item | null} item called at every change of it as well */
  show(item) {
    const fresh = this.item?.id !== item?.id;
    const before = this.item;
    this.item = item;
    if (fresh) this.leave(before);
    show(el("viewer"), item !== null && !this.isVolume && item.parcel.kind === "image");
    show(el("volume-box"), this.isVolume);
    show(el("over"), item?.state === "done");
    show(el("plane-tools"), this.isVolume);
    for (const id of ["redo", "tool-fill"]) show(el(id), !this.isVolume); // NiiVue has neither
    el("stage").classList.toggle("has-volume", this.isVolume);
    this.renderWait();
    this.renderSide();
    if (item) this.open(item, fresh).catch((error) => isAbort(error) || this.fail(item, error));
  }

  /** @param {Item | null} before */
  leave(before) {
    if (before?.corrected && before.result?.kind === "volume" && this.volume.item === before) {
      this.volume.save().then((blob) => { before.drawing = blob; }, (error) => notify(say(error), "error"));
    }
    this.image.close();
    this.volume.close();
    this.look.window = [0, 255];
    this.image.viewer.setWindow(0, 255);
    show(el("place"), false);
    this.toolbar.choose("hand");
  }

  /** @param {Item} item @param {boolean} fresh */
  async open(item, fresh) {
    const isImage = item.parcel.kind === "image" && !this.isVolume;
    if (isImage && (fresh || item.state === "done")) await this.image.open(item);
    if (item.state !== "done") return;
    if (!this.look.paint || !item.result?.classes.some((each) => each.id === this.look.paint)) this.look.paint = item.result?.classes[0]?.id ?? 1;
    if (!this.isVolume) return;
    this.say("loading the volume");
    this.toolbar.resize(3 - this.toolbar.position); // voxels are large
    await this.volume.open(item);
    this.volume.setOpacity(this.look.opacity);
    this.say("");
  }

  /** @param {Item} item @param {unknown} error */
  fail(item, error) {
    const gone = /** @type {any} */ (error).status === 404;
    notify(gone ? "The server has forgotten this result, as it does after a quarter of an hour. Press “Run again”." : say(error), "error");
    if (this.item === item) this.renderSide();
  }

  /** The card over the image while there is no result. */
  renderWait() {
    const { item } = this;
    const card = el("wait");
    show(card, item !== null && item.state !== "done");
    card.classList.toggle("middle", item !== null && (item.parcel.kind !== "image" || item.state === "failed"));
    if (!item || item.state === "done") return;
    if (item.state === "failed") {
      fill(card, h("div", { class: "row" }, icon("warning"), h("h2", {}, "This file was not segmented")), h("p", { role: "alert" }, item.text),
        button("Run again", () => this.actions.onAgain(item), { icon: "retry", testid: "again" }));
    } else if (item.state === "stopped") {
      fill(card, h("p", {}, "Cancelled."), button("Run again", () => this.actions.onAgain(item), { icon: "retry", testid: "again" }));
    } else {
      if (this.line?.item !== item || !card.contains(this.line.parts[0])) {
        this.line = { item, ...progressLine("Progress", () => this.actions.onCancel(item)) };
        fill(card, this.line.parts);
      }
      this.line.update(item.text, item.share);
    }
  }

  renderSide() {
    const { item } = this;
    const panel = el("side");
    if (!item?.result || item.state !== "done") {
      fill(panel, h("div", { class: "section" }, h("p", { class: "quiet" }, item?.state === "failed" || item?.state === "stopped"
        ? "There is no result." : "The result appears here: what was found, how large it is, and what to download.")));
      return;
    }
    const labels = this.isVolume ? (this.volume.item === item && item.corrected ? this.volume.labels : null) : item.corrected ? item.labels?.data ?? null : null;
    const classes = labels ? measure(item.result, labels) : item.result.classes;
    const [window, range] = this.isVolume ? [this.volume.window, this.volume.range] : [this.look.window, /** @type {[number, number]} */ ([0, 255])];
    renderSide(panel, item, { ...this.look, classes, window, range }, {
      toggle: (id) => this.toggle(id), paint: (id) => this.paintWith(id), opacity: (opacity) => this.setOpacity(opacity),
      window: (low, high) => this.setWindow(low, high), resetWindow: () => this.resetWindow(),
      download: (name) => this.download(name).catch((error) => this.fail(item, error)), again: () => this.actions.onAgain(item),
    });
  }

  onChange() {
    const { item } = this;
    this.image.setOpacity(this.look.opacity);
    this.toolbar.setHistory(item?.history?.canUndo ?? false, item?.history?.canRedo ?? false);
    this.renderSide();
    if (item) this.actions.onCorrected(item);
  }

  onDraw() {
    const { item } = this;
    if (!item) return;
    item.corrected = true;
    this.toolbar.setHistory(true, false);
    this.renderSide();
    this.actions.onCorrected(item);
  }

  /** @param {import("../toolbar.js").Choice} tool */
  chooseTool(tool) {
    if (!this.toolbar) return;
    if (this.isVolume) this.volume.setTool(tool, this.look.paint, this.toolbar.radius);
    else this.image.painting.choose(tool);
  }

  /** @param {number} id */
  paintWith(id) {
    this.look.paint = id;
    if (this.toolbar.tool === "hand" || this.toolbar.tool === "eraser") this.toolbar.choose("brush");
    else this.chooseTool(this.toolbar.tool);
    this.renderSide();
  }

  /** @param {number} number of the class, from 1 */
  paintNth(number) {
    const found = this.item?.result?.classes[number - 1];
    if (found) this.paintWith(found.id);
  }

  /** @param {number} id */
  toggle(id) {
    const hidden = new Set(this.look.hidden);
    if (!hidden.delete(id)) hidden.add(id);
    this.hide(hidden);
  }

  /** All classes away, or all back. */
  toggleMask() {
    const all = this.item?.result?.classes.map((item) => item.id) ?? [];
    this.hide(new Set(this.look.hidden.size > 0 ? [] : all));
  }

  /** @param {Set<number>} hidden */
  hide(hidden) {
    this.look.hidden = hidden;
    this.scene.setHidden(hidden);
    this.renderSide();
  }

  /** @param {number} opacity */
  setOpacity(opacity) {
    this.look.opacity = Math.min(1, Math.max(0, opacity));
    this.scene.setOpacity(this.look.opacity);
  }

  /** @param {number} low @param {number} high */
  setWindow(low, high) {
    if (this.isVolume) return this.volume.setWindow(low, high);
    this.look.window = [low, high];
    return this.image.viewer.setWindow(low, high);
  }

  resetWindow() {
    if (this.isVolume) this.volume.resetWindow();
    else this.setWindow(0, 255);
    this.renderSide();
  }

  /** @param {number} dx wider @param {number} dy brighter */
  dragWindow(dx, dy) {
    const [low, high] = this.look.window;
    const [level, width] = [(low + high) / 2 + dy, Math.max(2, high - low + dx)];
    this.setWindow(level - width / 2, level + width / 2);
    this.renderSide();
  }

  undo() {
    if (this.isVolume) this.volume.undo();
    else this.image.step("undo");
    if (this.isVolume) this.renderSide();
  }

  redo() {
    if (!this.isVolume) this.image.step("redo");
  }

  /** @param {number} factor */
  zoom(factor) {
    if (this.isVolume) this.volume.zoomBy(factor);
    else this.image.viewer.zoomBy(factor);
  }

  fit() {
    if (this.isVolume) this.volume.fit();
    else this.image.viewer.fit();
  }

  /** @param {number} view */
  chooseView(view) {
    this.volume.setView(view);
    for (const each of el("plane-tools").querySelectorAll("button")) each.setAttribute("aria-pressed", String(each.dataset.view === String(view)));
  }

  placeChip() {
    const { viewer } = this.image ?? {};
    if (!viewer?.picture) return;
    this.say(`${Math.round(viewer.view.scale * 100)} %`);
  }

  /** @param {string} text */
  say(text) {
    show(el("place"), text !== "" && this.item !== null);
    el("place").textContent = text;
  }

  /** @param {Item} item @param {string} name @returns {string} */
  fileName(item, name) {
    const ending = name.slice(name.indexOf("."));
    const what = { "mask.png": "", "mask.nii.gz": "_mask" }[name] ?? `_${name.slice(0, name.indexOf("."))}`;
    return stem(item.parcel.name.replace(/ \(.*\)$/, "")) + what + ending;
  }

  /** @param {Item} item @returns {Promise<Uint8Array>} */
  async maskOf(item) {
    if (!item.corrected || !item.labels) return /** @type {Uint8Array} */ (item.mask);
    return new Uint8Array(await (await encodePng(item.labels)).arrayBuffer());
  }

  /** @param {string} name */
  async download(name) {
    const { item } = this;
    if (!item) return;
    save(await this.makeFile(item, name), this.fileName(item, name));
  }

  /** @param {Item} item @param {string} name @returns {Promise<Blob>} */
  async makeFile(item, name) {
    if (name === "mask.png") return new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (await this.maskOf(item))], { type: "image/png" });
    if (name === "overlay.png") return this.image.overlay(this.look.opacity);
    if (name === "view.png") return this.volume.snapshot();
    if (name === "mask.nii.gz" && item.corrected) return this.volume.save();
    if (name === "measures.json") return this.makeMeasures(item);
    return (await request(outputAddress(item, name).replace("api/v1/", ""))).blob();
  }

  /** @param {Item} item */
  makeMeasures(item) {
    const labels = this.isVolume ? this.volume.labels : item.labels?.data;
    const result = /** @type {import("./queue.js").Result} */ (item.result);
    const { width, height, slices, spacing } = result;
    const classes = item.corrected && labels ? measure(result, labels) : result.classes;
    const body = { file: item.parcel.name, model: item.model, corrected: item.corrected, width, height, slices, spacing, classes };
    return new Blob([`${JSON.stringify(body, null, 2)}\n`], { type: "application/json" });
  }
}
