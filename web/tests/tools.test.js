import assert from "node:assert/strict";
import { test } from "node:test";

import { brush, brushLine, count, paintRuns, polygonRuns, regionRuns } from "../../src/dinoseg/serving/page/app/tools.js";

/** @param {number} width @param {number} height */
const blank = (width, height, value = 0) => ({ data: new Uint8Array(width * height).fill(value), width, height });

/** @param {import("../../src/dinoseg/serving/page/app/tools.js").Labels} labels @returns {string[]} */
const rows = ({ data, width, height }) => Array.from({ length: height }, (_, y) => data.subarray(y * width, (y + 1) * width).join(""));

test("a brush paints the pixels whose centre is within its radius", () => {
  const labels = blank(7, 5);
  const rect = brush(labels, [3.5, 2.5], [3.5, 2.5], 1, 1);
  assert.deepEqual(rows(labels), ["0000000", "0001000", "0011100", "0001000", "0000000"]);
  assert.deepEqual(rect, { x0: 2, y0: 1, x1: 5, y1: 4 });
});

test("the smallest brush paints the pixel under the point", () => {
  const labels = blank(4, 4);
  brush(labels, [1.5, 2.5], [1.5, 2.5], 0, 3);
  assert.deepEqual(rows(labels), ["0000", "0000", "0300", "0000"]);
});

test("a line has no gaps and is the union of its discs", () => {
  const line = blank(60, 40);
  brushLine(line, [[5, 5], [50.3, 31.8]], 3, 1);
  const discs = blank(60, 40);
  for (let step = 0; step <= 4000; step += 1) {
    const at = /** @type {[number, number]} */ ([5 + (45.3 * step) / 4000, 5 + (26.8 * step) / 4000]);
    brush(discs, at, at, 3, 1);
  }
  assert.deepEqual(line.data, discs.data);
});

test("what is painted outside the image changes nothing and does not wrap around", () => {
  const labels = blank(6, 4);
  assert.equal(brush(labels, [-20, 2], [-10, 2], 3, 1), null);
  brush(labels, [-1, 1.5], [0.2, 1.5], 0.8, 1);
  assert.deepEqual(rows(labels), ["000000", "100000", "000000", "000000"]);
});

test("a polygon of a rectangle has its pixels, by even-odd", () => {
  const labels = blank(8, 6);
  paintRuns(labels, polygonRuns(labels, [[1, 1], [6, 1], [6, 5], [1, 5]]), 2);
  assert.deepEqual(rows(labels), ["00000000", "02222200", "02222200", "02222200", "02222200", "00000000"]);
});

test("a polygon that reaches out of the image is cut at its edge", () => {
  const labels = blank(5, 4);
  paintRuns(labels, polygonRuns(labels, [[-10, -10], [20, -10], [20, 2], [-10, 2]]), 1);
  assert.deepEqual(rows(labels), ["11111", "11111", "00000", "00000"]);
});

test("neighbouring polygons share no pixel and leave none out", () => {
  const labels = blank(40, 40);
  const middle = /** @type {[number, number]} */ ([17.3, 21.9]);
  const corners = /** @type {[number, number][]} */ ([[0, 0], [40, 0], [40, 40], [0, 40]]);
  const painted = new Uint8Array(1600);
  corners.forEach((corner, index) => {
    for (const [y, x0, x1] of polygonRuns(labels, [corner, corners[(index + 1) % 4], middle])) {
      for (let x = x0; x < x1; x += 1) painted[y * 40 + x] += 1;
    }
  });
  assert.deepEqual(new Set(painted), new Set([1]));
});

test("a fill takes the connected region of one label and stops at others", () => {
  const labels = blank(7, 5);
  paintRuns(labels, [[0, 3, 4], [1, 3, 4], [2, 3, 4], [3, 3, 4], [4, 3, 4]], 1);
  const before = labels.data.slice();
  const runs = regionRuns(labels, [1.2, 1.9]);
  assert.deepEqual(labels.data, before);
  paintRuns(labels, runs, 2);
  assert.deepEqual(rows(labels), Array(5).fill("2221000"));
});

test("a fill goes around corners and does not cross a diagonal", () => {
  const labels = blank(3, 3, 1);
  for (const index of [0, 4, 8, 3]) labels.data[index] = 0; // a staircase, and one pixel alone at the lower right
  paintRuns(labels, regionRuns(labels, [0.5, 0.5]), 7);
  assert.deepEqual(rows(labels), ["711", "771", "110"]);
});

test("a fill of a large spiral reaches its end", () => {
  const size = 301;
  const labels = blank(size, size, 1);
  for (let y = 0; y < size; y += 2) labels.data.fill(0, y * size, (y + 1) * size);
  for (let y = 1; y < size; y += 2) labels.data[y * size + (y % 4 === 1 ? size - 1 : 0)] = 0;
  const zeros = count(labels.data)[0];
  paintRuns(labels, regionRuns(labels, [0.5, 0.5]), 9);
  assert.equal(count(labels.data)[9], zeros);
});

test("a click outside the image fills nothing", () => {
  assert.deepEqual(regionRuns(blank(3, 3), [3.01, 1]), []);
});
