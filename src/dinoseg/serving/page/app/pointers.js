// Mouse, pen, fingers and arrow keys on the viewer. One finger or the left button uses the tool, two fingers move
// and zoom, the wheel zooms, the middle button (or shift) moves, the right one sets brightness and contrast.
// Once a pen was seen, fingers only move: the hand rests on the screen while it draws.

/** @typedef {import("./view.js").Point} Point */
/** @typedef {import("./viewer.js").Viewer} Viewer */

const STEP = 1.0018; // zoom per pixel of wheel
const ARROWS = /** @type {Record<string, Point>} */ ({
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
});

export class Pointers {
  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    /** @type {Map<number, Point>} pointers that are down, on the screen */
    this.down = new Map();
    /** @type {"tool" | "pan" | "pinch" | "window" | null} */
    this.doing = null;
    this.penSeen = false;
    this.keyDown = false; // the tool is held down by the keyboard
    const { host } = viewer;
    host.addEventListener("pointerdown", (event) => this.onDown(event));
    host.addEventListener("pointermove", (event) => this.onMove(event));
    host.addEventListener("pointerup", (event) => this.onUp(event, false));
    host.addEventListener("pointercancel", (event) => this.onUp(event, true));
    host.addEventListener("pointerleave", () => this.down.size === 0 && this.setCursor(null));
    host.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    host.addEventListener("contextmenu", (event) => event.preventDefault());
    host.addEventListener("keydown", (event) => this.onKey(event));
    host.addEventListener("blur", () => this.lift());
  }

  /** @param {MouseEvent} event @returns {Point} */
  place(event) {
    const box = this.viewer.host.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** @param {Point | null} at on the screen */
  setCursor(at) {
    this.viewer.cursor = at && this.viewer.screenToImage(at);
    this.viewer.redraw("cursor");
  }

  /** @param {PointerEvent} event */
  onDown(event) {
    this.viewer.host.focus({ preventScroll: true });
    this.viewer.host.setPointerCapture(event.pointerId);
    if (event.pointerType === "pen") this.penSeen = true;
    const at = this.place(event);
    this.down.set(event.pointerId, at);
    if (this.down.size === 2) return this.startPinch();
    if (this.down.size > 2) return undefined;
    this.setCursor(at);
    this.doing = this.choose(event);
    if (this.doing === "tool") this.viewer.tool?.start(this.viewer.screenToImage(at));
    return undefined;
  }

  /** @param {PointerEvent} event @returns {"tool" | "pan" | "window"} */
  choose(event) {
    if (event.button === 2) return this.viewer.options.onWindow ? "window" : "pan";
    if (event.button === 1 || event.shiftKey || !this.viewer.tool) return "pan";
    return event.pointerType === "touch" && this.penSeen ? "pan" : "tool";
  }

  startPinch() {
    if (this.doing === "tool") this.viewer.tool?.cancel();
    this.doing = "pinch";
    this.setCursor(null);
  }

  /** @param {PointerEvent} event */
  onMove(event) {
    const at = this.place(event);
    const before = this.down.get(event.pointerId);
    if (!before) return this.setCursor(event.pointerType === "touch" ? null : at);
    if (this.doing === "pinch") this.pinch(event.pointerId, at);
    this.down.set(event.pointerId, at);
    const [dx, dy] = [at[0] - before[0], at[1] - before[1]];
    if (this.doing === "pan") this.viewer.panBy(dx, dy);
    if (this.doing === "window") this.viewer.options.onWindow?.(dx, dy);
    if (this.doing === "tool") {
      const events = event.getCoalescedEvents?.() ?? [];
      this.viewer.tool?.move((events.length ? events : [event]).map((each) => this.viewer.screenToImage(this.place(each))));
      this.setCursor(at);
    }
    return undefined;
  }

  /** @param {number} id @param {Point} at */
  pinch(id, at) {
    const before = /** @type {Point} */ (this.down.get(id));
    const other = [...this.down].find(([pointer]) => pointer !== id)?.[1];
    if (!other) return;
    const [old, now] = [before, at].map((point) => Math.hypot(point[0] - other[0], point[1] - other[1]));
    this.viewer.panBy((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    if (old > 0) this.viewer.zoomBy(now / old, [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2]);
  }

  /** @param {PointerEvent} event @param {boolean} lost the system took the pointer away */
  onUp(event, lost) {
    if (!this.down.delete(event.pointerId)) return;
    if (this.doing === "tool") {
      if (lost) this.viewer.tool?.cancel();
      else this.viewer.tool?.end();
    }
    if (this.down.size === 0) this.doing = null;
    if (event.pointerType === "touch") this.setCursor(null);
  }

  /** @param {WheelEvent} event */
  onWheel(event) {
    event.preventDefault();
    if (!event.ctrlKey && this.viewer.options.onWheel?.(event)) return;
    const lines = event.deltaMode === 1 ? 30 : 1;
    const faster = event.ctrlKey ? 4 : 1; // how browsers report two fingers on a touch pad
    this.viewer.zoomBy(STEP ** (-event.deltaY * lines * faster), this.place(event));
    this.setCursor(this.place(event));
  }

  /** Arrows move the image, or with a tool the cursor; the space bar puts the tool down and lifts it. */
  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) {
      event.preventDefault();
      if (this.viewer.tool && !event.shiftKey) this.moveCursor(arrow);
      else this.viewer.panBy(-arrow[0] * 40, -arrow[1] * 40);
    } else if (event.key === " " && this.viewer.tool) {
      event.preventDefault();
      if (!event.repeat) this.press();
    }
  }

  /** @param {Point} arrow */
  moveCursor([x, y]) {
    const { viewer } = this;
    const step = Math.max(1, Math.round((viewer.tool?.radius ?? 4) / 2));
    const [cx, cy] = viewer.cursor ?? viewer.screenToImage([viewer.screen.width / 2, viewer.screen.height / 2]);
    viewer.cursor = [cx + x * step, cy + y * step];
    if (this.keyDown) viewer.tool?.move([viewer.cursor]);
    viewer.redraw("cursor");
  }

  press() {
    const { viewer } = this;
    viewer.cursor ??= viewer.screenToImage([viewer.screen.width / 2, viewer.screen.height / 2]);
    if (this.keyDown) this.lift();
    else {
      viewer.tool?.start(viewer.cursor);
      this.keyDown = true;
    }
    viewer.redraw("cursor");
  }

  lift() {
    if (this.keyDown) this.viewer.tool?.end();
    this.keyDown = false;
  }
}
