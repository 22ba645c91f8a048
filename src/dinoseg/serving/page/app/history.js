// Undo and redo of a label map: what lay below each stroke, within its rectangle.

/** @typedef {import("./tools.js").Labels} Labels */
/** @typedef {import("./tools.js").Rect} Rect */

const MOST_BYTES = 64 * 1024 ** 2;

/** @param {Labels} labels @param {Rect} rect @returns {Uint8Array} */
function cut({ data, width }, { x0, y0, x1, y1 }) {
  const part = new Uint8Array((x1 - x0) * (y1 - y0));
  for (let y = y0; y < y1; y += 1) part.set(data.subarray(y * width + x0, y * width + x1), (y - y0) * (x1 - x0));
  return part;
}

/** @param {Labels} labels is changed @param {Rect} rect @param {Uint8Array} part */
function paste({ data, width }, { x0, y0, x1, y1 }, part) {
  for (let y = y0; y < y1; y += 1) data.set(part.subarray((y - y0) * (x1 - x0), (y - y0 + 1) * (x1 - x0)), y * width + x0);
}

export class History {
  /** @param {Labels} labels the map that is painted on */
  constructor(labels) {
    this.labels = labels;
    this.before = labels.data.slice();
    /** @type {{rect: Rect, part: Uint8Array}[]} */
    this.past = [];
    /** @type {{rect: Rect, part: Uint8Array}[]} */
    this.future = [];
  }

  get canUndo() { return this.past.length > 0; }

  get canRedo() { return this.future.length > 0; }

  /** @param {Rect | null} rect what changed since the last call */
  record(rect) {
    if (!rect) return;
    const part = cut({ ...this.labels, data: this.before }, rect);
    this.past.push({ rect, part });
    this.future = [];
    paste({ ...this.labels, data: this.before }, rect, cut(this.labels, rect));
    let bytes = this.past.reduce((sum, step) => sum + step.part.length, 0);
    while (bytes > MOST_BYTES && this.past.length > 1) bytes -= this.past.shift()?.part.length ?? 0;
  }

  /** Takes an unrecorded change back. @param {Rect | null} rect */
  drop(rect) {
    if (rect) paste(this.labels, rect, cut({ ...this.labels, data: this.before }, rect));
  }

  /** @returns {Rect | null} what changed */
  undo() { return this.step(this.past, this.future); }

  /** @returns {Rect | null} */
  redo() { return this.step(this.future, this.past); }

  /** @param {{rect: Rect, part: Uint8Array}[]} from @param {{rect: Rect, part: Uint8Array}[]} to */
  step(from, to) {
    const last = from.pop();
    if (!last) return null;
    to.push({ rect: last.rect, part: cut(this.labels, last.rect) });
    paste(this.labels, last.rect, last.part);
    paste({ ...this.labels, data: this.before }, last.rect, last.part);
    return last.rect;
  }
}
