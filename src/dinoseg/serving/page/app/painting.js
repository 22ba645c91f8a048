// The tools on the viewer: they paint on a label map at once, and hand over the finished stroke.

import { brush, brushLine, isApart, join, paintRuns, polygonRuns, regionRuns, roundPoint } from "./tools.js";

/** @typedef {import("./view.js").Point} Point */
/** @typedef {import("./tools.js").Labels} Labels */
/** @typedef {import("./tools.js").Rect} Rect */
/** @typedef {import("./tools.js").Run} Run */
/** @typedef {"brush" | "eraser" | "polygon" | "fill"} ToolName */
/** @typedef {{tool: ToolName, value: number, radius: number, points: Point[], runs: Run[], rect: Rect}} Stroke */
/**
 * What is painted on, and with what; asked for at the start of every stroke.
 * @typedef {object} Canvas
 * @property {string} layer of the viewer
 * @property {() => Labels | null} labels are changed
 * @property {() => import("./history.js").History | null} history of these labels
 * @property {() => Labels | null} seen what a fill goes by
 * @property {(tool: ToolName) => number} value
 * @property {() => number} radius in image pixels
 * @property {(stroke: Stroke) => void} onStroke
 * @property {(message: string) => void} onHint
 */

const NEAR = 10; // screen pixels to the first corner that close a polygon
const LASSO = 6; // corners of a drag that make it an outline of its own

export class Painting {
  /** @param {import("./viewer.js").Viewer} viewer @param {Canvas} canvas */
  constructor(viewer, canvas) {
    this.viewer = viewer;
    this.canvas = canvas;
    /** @type {ToolName | "hand"} */
    this.name = "hand";
    /** @type {PolygonTool | null} */
    this.polygon = null;
    this.hinted = false; // how a polygon is drawn has been said
  }

  /** @param {ToolName | "hand"} name */
  choose(name) {
    this.name = name;
    this.polygon = name === "polygon" ? new PolygonTool(this) : null;
    if (name === "hand") this.viewer.setTool(null);
    else if (name === "fill") this.viewer.setTool(new FillTool(this));
    else this.viewer.setTool(this.polygon ?? new BrushTool(this, name === "eraser" ? "eraser" : "brush"));
  }

  /** @param {ToolName} tool @param {Partial<Stroke> & {rect: Rect}} stroke */
  finish(tool, stroke) {
    this.canvas.history()?.record(stroke.rect);
    this.canvas.onStroke({ tool, value: this.canvas.value(tool), radius: this.canvas.radius(), points: [], runs: [], ...stroke });
  }

  /** @param {ToolName} tool @param {Run[]} runs @param {Point[]} points */
  paint(tool, runs, points) {
    const labels = this.canvas.labels();
    if (!labels) return;
    const rect = paintRuns(labels, runs, this.canvas.value(tool));
    if (!rect) return;
    this.viewer.updateLayer(this.canvas.layer, rect);
    this.finish(tool, { rect, runs, points });
  }

  /** The ring has a new size. */
  resized() {
    this.viewer.redraw("cursor");
  }
}

class BrushTool {
  /** @param {Painting} painting @param {"brush" | "eraser"} name */
  constructor(painting, name) {
    this.painting = painting;
    this.name = name;
    /** @type {Point[]} */
    this.points = [];
    /** @type {Rect | null} */
    this.rect = null;
    /** @type {Point[]} */
    this.outline = [];
  }

  get radius() { return this.painting.canvas.radius(); }

  /** @param {Point} at */
  start(at) {
    this.points = [];
    this.rect = null;
    this.add(at);
  }

  /** @param {Point[]} points */
  move(points) {
    if (this.points.length === 0) return;
    for (const point of points) if (isApart(this.points.at(-1), point, this.radius)) this.add(point);
  }

  /** @param {Point} at */
  add(at) {
    const labels = this.painting.canvas.labels();
    if (!labels) return;
    const point = roundPoint(at);
    const rect = brush(labels, this.points.at(-1) ?? point, point, this.radius, this.painting.canvas.value(this.name));
    this.points.push(point);
    this.rect = join(this.rect, rect);
    this.painting.viewer.updateLayer(this.painting.canvas.layer, rect);
  }

  end() {
    const { points, rect } = this;
    this.points = [];
    if (points.length > 0 && rect) this.painting.finish(this.name, { points, rect });
  }

  cancel() {
    if (this.points.length === 0) return;
    this.points = [];
    this.painting.canvas.history()?.drop(this.rect);
    this.painting.viewer.updateLayer(this.painting.canvas.layer, this.rect);
  }
}

class PolygonTool {
  radius = null;

  /** @param {Painting} painting */
  constructor(painting) {
    this.painting = painting;
    /** @type {Point[]} */
    this.outline = [];
    this.before = 0; // corners when the pointer went down
  }

  /** @param {Point} at */
  start(at) {
    if (this.outline.length > 2 && this.isNear(at, this.outline[0])) return this.close();
    this.before = this.outline.length;
    this.outline.push(roundPoint(at));
    if (this.before === 0 && !this.painting.hinted) this.painting.canvas.onHint("Click corner by corner or draw around; Enter or the first corner closes it, Esc gives up.");
    this.painting.hinted = true;
    return this.painting.viewer.redraw("cursor");
  }

  /** @param {Point} one @param {Point} other */
  isNear(one, other) {
    return Math.hypot(one[0] - other[0], one[1] - other[1]) * this.painting.viewer.view.scale < NEAR;
  }

  /** @param {Point[]} points */
  move(points) {
    if (this.outline.length === 0) return;
    for (const point of points) {
      if (isApart(this.outline.at(-1), point, 8 / this.painting.viewer.view.scale * 3)) this.outline.push(roundPoint(point));
    }
  }

  end() {
    if (this.before === 0 && this.outline.length >= LASSO) this.close();
  }

  close() {
    const labels = this.painting.canvas.labels();
    const points = this.outline;
    this.cancel();
    if (labels && points.length > 2) this.painting.paint("polygon", polygonRuns(labels, points), points);
  }

  back() {
    this.outline.pop();
    this.painting.viewer.redraw("cursor");
  }

  cancel() {
    this.outline = [];
    this.painting.viewer.redraw("cursor");
  }
}

class FillTool {
  radius = null;
  /** @type {Point[]} */
  outline = [];

  /** @param {Painting} painting */
  constructor(painting) {
    this.painting = painting;
  }

  /** @param {Point} at */
  start(at) {
    const seen = this.painting.canvas.seen();
    if (seen) this.painting.paint("fill", regionRuns(seen, at), [roundPoint(at)]);
  }

  move() {}

  end() {}

  cancel() {}
}

/**
 * A stroke again, as it was drawn.
 * @param {Labels} labels are changed @param {{tool: string, value: number, radius: number, points: Point[], runs: Run[]}} stroke
 */
export function replay(labels, stroke) {
  if (stroke.tool === "fill") return paintRuns(labels, stroke.runs, stroke.value);
  if (stroke.tool === "polygon") return paintRuns(labels, polygonRuns(labels, stroke.points), stroke.value);
  return brushLine(labels, stroke.points, stroke.radius, stroke.value);
}
