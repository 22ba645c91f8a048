// What a brush, a polygon and a fill do to a label map. Pure functions on Uint8Array, row by row; a pixel counts
// by its centre, which is at .5. The server draws strokes by the same rule.

/** @typedef {import("./view.js").Point} Point */
/** @typedef {{data: Uint8Array, width: number, height: number}} Labels */
/** @typedef {{x0: number, y0: number, x1: number, y1: number}} Rect half open, in pixels */
/** @typedef {[number, number, number]} Run row, first column, column after the last */

export const UNPAINTED = 255;

/** @param {Rect | null} one @param {Rect | null} other @returns {Rect | null} */
export function join(one, other) {
  if (!one || !other) return one ?? other;
  return {
    x0: Math.min(one.x0, other.x0), y0: Math.min(one.y0, other.y0),
    x1: Math.max(one.x1, other.x1), y1: Math.max(one.y1, other.y1),
  };
}

/** @param {Rect} rect @param {Labels} labels @returns {Rect | null} the part that is on the map */
function clip(rect, { width, height }) {
  const inside = {
    x0: Math.max(0, rect.x0), y0: Math.max(0, rect.y0), x1: Math.min(width, rect.x1), y1: Math.min(height, rect.y1),
  };
  return inside.x0 < inside.x1 && inside.y0 < inside.y1 ? inside : null;
}

/**
 * A brush drawn from one point to another: every pixel whose centre is at most `radius` from the line.
 * @param {Labels} labels is changed @param {Point} from @param {Point} to
 * @param {number} radius in pixels; at least the pixel under the point is painted @param {number} value
 * @returns {Rect | null} what changed, null outside the image
 */
export function brush(labels, from, to, radius, value) {
  const reach = Math.max(radius, 0.5);
  const rect = clip({
    x0: Math.floor(Math.min(from[0], to[0]) - reach), y0: Math.floor(Math.min(from[1], to[1]) - reach),
    x1: Math.ceil(Math.max(from[0], to[0]) + reach), y1: Math.ceil(Math.max(from[1], to[1]) + reach),
  }, labels);
  if (!rect) return null;
  for (let y = rect.y0; y < rect.y1; y += 1) brushRow(labels, rect, y, [from, to], reach, value);
  return rect;
}

/** @param {Labels} labels @param {Rect} rect @param {number} y @param {Point[]} line @param {number} reach @param {number} value */
function brushRow(labels, rect, y, [from, to], reach, value) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = dx * dx + dy * dy;
  const py = y + 0.5 - from[1];
  for (let x = rect.x0; x < rect.x1; x += 1) {
    const px = x + 0.5 - from[0];
    const along = length > 0 ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
    const [ex, ey] = [px - along * dx, py - along * dy];
    if (ex * ex + ey * ey <= reach * reach) labels.data[y * labels.width + x] = value;
  }
}

/**
 * A brush drawn through all points.
 * @param {Labels} labels is changed @param {Point[]} points @param {number} radius @param {number} value
 * @returns {Rect | null}
 */
export function brushLine(labels, points, radius, value) {
  /** @type {Rect | null} */
  let changed = null;
  points.forEach((point, index) => {
    changed = join(changed, brush(labels, points[Math.max(0, index - 1)], point, radius, value));
  });
  return changed;
}

/**
 * The runs of a polygon by the even-odd rule; it need not be closed.
 * @param {Labels} labels gives the size @param {Point[]} points
 * @returns {Run[]}
 */
export function polygonRuns({ width, height }, points) {
  const rows = points.map((point) => point[1]);
  const [first, last] = [Math.max(0, Math.floor(Math.min(...rows))), Math.min(height, Math.ceil(Math.max(...rows)))];
  /** @type {Run[]} */
  const runs = [];
  for (let y = first; y < last; y += 1) {
    const crossings = findCrossings(points, y + 0.5);
    for (let index = 0; index + 1 < crossings.length; index += 2) {
      const x0 = Math.max(0, Math.ceil(crossings[index] - 0.5));
      const x1 = Math.min(width, Math.ceil(crossings[index + 1] - 0.5));
      if (x0 < x1) runs.push([y, x0, x1]);
    }
  }
  return runs;
}

/** @param {Point[]} points @param {number} y @returns {number[]} where the outline crosses the row, sorted */
function findCrossings(points, y) {
  const crossings = [];
  for (let index = 0; index < points.length; index += 1) {
    const [[x0, y0], [x1, y1]] = [points[index], points[(index + 1) % points.length]];
    if (y0 <= y !== y1 <= y) crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
  }
  return crossings.sort((one, other) => one - other);
}

/**
 * The connected region (by edges) of one label around a pixel.
 * @param {Labels} labels stays as it is @param {Point} at
 * @returns {Run[]} empty outside the image
 */
export function regionRuns({ data, width, height }, at) {
  const [x, y] = [Math.floor(at[0]), Math.floor(at[1])];
  if (x < 0 || y < 0 || x >= width || y >= height) return [];
  const wanted = data[y * width + x];
  const seen = new Uint8Array(data.length);
  /** @type {Run[]} */
  const runs = [];
  const stack = [y * width + x];
  while (stack.length > 0) {
    const start = /** @type {number} */ (stack.pop());
    if (seen[start]) continue;
    const row = Math.floor(start / width) * width;
    let [first, last] = [start, start + 1];
    while (first > row && data[first - 1] === wanted) first -= 1;
    while (last < row + width && data[last] === wanted) last += 1;
    seen.fill(1, first, last);
    runs.push([row / width, first - row, last - row]);
    for (const other of [row - width, row + width]) {
      if (other < 0 || other >= data.length) continue;
      pushStarts(data, seen, wanted, first - row + other, last - row + other, stack);
    }
  }
  return runs;
}

/** @param {Uint8Array} data @param {Uint8Array} seen @param {number} wanted @param {number} first @param {number} last @param {number[]} stack */
function pushStarts(data, seen, wanted, first, last, stack) {
  let inside = false;
  for (let index = first; index < last; index += 1) {
    const open = data[index] === wanted && !seen[index];
    if (open && !inside) stack.push(index);
    inside = open;
  }
}

/**
 * @param {Labels} labels is changed @param {Run[]} runs @param {number} value
 * @returns {Rect | null}
 */
export function paintRuns(labels, runs, value) {
  /** @type {Rect | null} */
  let changed = null;
  for (const [y, x0, x1] of runs) {
    labels.data.fill(value, y * labels.width + x0, y * labels.width + x1);
    changed = join(changed, { x0, y0: y, x1, y1: y + 1 });
  }
  return changed;
}

/**
 * Whether a point is far enough from the last one to be worth keeping.
 * @param {Point | undefined} last @param {Point} next @param {number} radius
 */
export function isApart(last, next, radius) {
  return !last || Math.hypot(next[0] - last[0], next[1] - last[1]) >= Math.max(0.3, radius / 6);
}

/** @param {Point} point @returns {Point} in hundredths of a pixel, so that what is sent is what was drawn */
export function roundPoint([x, y]) {
  return [Math.round(x * 100) / 100, Math.round(y * 100) / 100];
}

/** @param {Uint8Array} data @returns {number[]} how many pixels each of the 256 labels has */
export function count(data) {
  const counts = new Uint32Array(256);
  for (let index = 0; index < data.length; index += 1) counts[data[index]] += 1; // a third of the time of for-of
  return [...counts];
}
