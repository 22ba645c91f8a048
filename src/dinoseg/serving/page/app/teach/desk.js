// Where the parts of the page meet: the project of the server, the open image, the strokes on their way.

import { getJson, listen, send } from "../api.js";
import { notify } from "../chrome.js";
import { isAbort, say } from "../errors.js";
import { Outbox } from "../outbox.js";
import { createStore } from "../store.js";
import { Board } from "./board.js";
import { findNext, isForeign, merge } from "./project.js";

/** @typedef {import("./project.js").Image} Image */
/** @typedef {import("./project.js").Project} Project */
/** @typedef {import("../outbox.js").Letter} Letter */
/**
 * @typedef {object} State
 * @property {Project | null} project
 * @property {string | null} current id of the open image
 * @property {number} slice
 * @property {number} paint class of the brush, 0 = background
 * @property {import("../outbox.js").State} saved
 * @property {number} waiting strokes that are not saved
 * @property {boolean} online whether the server's events arrive
 * @property {boolean} redo whether something was taken back
 */

const GREY_PAUSE_MS = 250;

export class Desk {
  /** @param {HTMLElement} host @param {() => number} radius */
  constructor(host, radius) {
    /** @type {State} */
    const initial = { project: null, current: null, slice: 0, paint: 1, saved: "saved", waiting: 0, online: true, redo: false };
    this.store = createStore(initial);
    /** @type {Map<string, number>} strokes of an image that are shown here */
    this.expected = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.grey = undefined;
    this.board = new Board(host, {
      radius, paintClass: () => this.state.paint, onHint: notify, onError: (error) => notify(say(error), "error"),
      onStroke: (image, stroke) => this.addStroke(image, stroke), pending: (image) => this.outbox?.of(image.id) ?? [],
      onWindow: (dx, dy) => this.dragWindow(dx, dy), onWheel: (event) => this.turn(event),
    });
    /** @type {Outbox | null} */
    this.outbox = null;
  }

  get state() { return this.store.get(); }

  /** @returns {Project} */
  get project() {
    if (!this.state.project) throw new Error("the project is not loaded yet");
    return this.state.project;
  }

  /** @returns {Image | null} */
  get image() {
    return this.state.project?.images.find((image) => image.id === this.state.current) ?? null;
  }

  async start() {
    /** @type {Project} */
    const project = await getJson("teach/project");
    this.outbox = this.createOutbox(project);
    this.board.setClasses(project.classes);
    this.store.set({ project, paint: project.classes[0]?.id ?? 0 });
    this.outbox.run();
    listen("teach/events", (event) => event.type === "project" && this.take(event.project), (online) => this.connect(online));
    const first = project.images.find((image) => image.id === project.next) ?? project.images[0];
    if (first) await this.open(first);
  }

  /** @param {Project} project */
  createOutbox(project) {
    return new Outbox({
      send: ({ image, stroke }) => send("POST", `teach/images/${image}/strokes`, stroke),
      onSent: () => {},
      onRefused: (error, { image }) => {
        notify(`A stroke was not taken: ${say(error)}`, "error");
        this.expect(image, -1);
        if (image === this.state.current) this.board.refreshLabels();
      },
      onState: (saved, waiting) => this.store.set({ saved, waiting }),
      storage: localStorage,
      prefix: `dinoseg-stroke:${project.folder}:`,
    });
  }

  /** What happened while nothing was heard is read at once. @param {boolean} online */
  connect(online) {
    const was = this.state.online;
    this.store.set({ online });
    if (!online || was) return;
    this.outbox?.run();
    getJson("teach/project").then((project) => this.take(project), (error) => notify(say(error), "error"));
  }

  /** @param {Partial<Project>} news */
  take(news) {
    const before = this.image;
    const { project, changed } = merge(this.project, news);
    this.store.set({ project });
    if (news.classes) this.board.setClasses(news.classes);
    const now = changed.find((image) => image.id === this.state.current);
    if (!now || !before || this.board.image?.id !== now.id) return;
    this.board.image = now;
    if (isForeign(now.strokes, this.expected.get(now.id) ?? 0, this.outbox?.of(now.id).length ?? 0)) {
      this.expected.set(now.id, now.strokes + (this.outbox?.of(now.id).length ?? 0));
      this.board.refreshLabels();
    }
    if (now.round !== before.round || now.state !== before.state) this.board.refreshPrediction();
  }

  /** @param {string} image @param {number} change */
  expect(image, change) {
    this.expected.set(image, Math.max(0, (this.expected.get(image) ?? 0) + change));
  }

  /** @param {Image} image @param {number} slice the middle one of a volume unless told */
  async open(image, slice = Math.floor(image.slices / 2)) {
    if (image.id !== this.state.current) this.store.set({ redo: false });
    this.store.set({ current: image.id, slice });
    this.expected.set(image.id, image.strokes + (this.outbox?.of(image.id).length ?? 0));
    await this.board.open(image, slice).catch((error) => isAbort(error) || notify(say(error), "error"));
    this.store.set({});
  }

  /** @param {number} slice */
  showSlice(slice) {
    const { image } = this;
    if (image) this.open(image, Math.min(image.slices - 1, Math.max(0, slice)));
  }

  /** The wheel moves through a volume. @param {WheelEvent} event */
  turn(event) {
    const slices = this.image?.slices ?? 1;
    if (slices > 1 && event.deltaY !== 0) this.showSlice(this.state.slice + Math.sign(event.deltaY));
    return slices > 1;
  }

  next() {
    const image = findNext(this.project, this.state.current);
    if (image) this.open(image, image.id === this.project.next ? this.project.next_slice ?? undefined : undefined);
    return image;
  }

  /** @param {number} step in the order of the list @param {Image[]} images */
  move(step, images) {
    const next = images[images.findIndex((image) => image.id === this.state.current) + step];
    if (next) this.open(next);
  }

  /** @param {Image} image @param {Record<string, unknown> & {client: string}} stroke */
  addStroke(image, stroke) {
    this.expect(image.id, 1);
    this.store.set({ redo: false });
    this.outbox?.add({ image: image.id, stroke });
  }

  /** @param {"undo" | "redo"} what */
  async step(what) {
    const { image } = this;
    if (!image) return;
    if (what === "undo" && this.outbox?.takeBack(image.id)) {
      this.expect(image.id, -1);
      this.board.dropNewest();
      return;
    }
    try {
      const { strokes } = await send("POST", `teach/images/${image.id}/${what}`);
      this.expected.set(image.id, strokes);
      this.store.set({ redo: what === "undo" || this.state.redo });
      await this.board.refreshLabels();
    } catch (error) {
      if (what === "redo" && /** @type {any} */ (error).status === 409) this.store.set({ redo: false });
      else notify(say(error), "error");
    }
  }

  /** @param {"accept" | "reopen"} what @param {number | null} slice */
  async decide(what, slice) {
    await this.board.decide(what, slice).catch((error) => notify(say(error), "error"));
  }

  /** @param {import("../colours.js").LabelClass[]} classes */
  async keepClasses(classes) {
    await send("PUT", "teach/classes", classes);
    this.board.setClasses(classes);
    const fresh = classes.find((item) => !this.project.classes.some((each) => each.id === item.id));
    const known = classes.some((item) => item.id === this.state.paint);
    this.store.set({ project: { ...this.project, classes }, paint: fresh?.id ?? (known ? this.state.paint : classes[0]?.id ?? 0) });
  }

  /** @param {number} low @param {number} high */
  setWindow(low, high) {
    this.board.setWindow(low, high);
    clearTimeout(this.grey);
    this.grey = setTimeout(() => this.board.refreshPicture(), GREY_PAUSE_MS);
  }

  /** @param {number} dx @param {number} dy of a drag with the right button */
  dragWindow(dx, dy) {
    const { range, window: [low, high] } = this.board.meta;
    const unit = (range[1] - range[0]) / 500;
    const [level, width] = [(low + high) / 2 + dy * unit, Math.max(unit * 2, high - low + dx * unit)];
    this.setWindow(level - width / 2, level + width / 2);
    this.store.set({});
  }
}
