import assert from "node:assert/strict";
import { test } from "node:test";

import { replay } from "../../src/dinoseg/serving/page/app/painting.js";
import { windowFilter } from "../../src/dinoseg/serving/page/app/window.js";

/** What a browser makes of the filters, on values from 0 to 1. @param {string} filters @param {number} value */
function apply(filters, value) {
  const clamp = (/** @type {number} */ each) => Math.min(1, Math.max(0, each));
  return [...filters.matchAll(/(\w+)\(([^)]+)\)/g)].reduce((x, [, name, text]) => {
    const by = Number(text);
    return clamp(name === "brightness" ? x * by : (x - 0.5) * by + 0.5);
  }, value);
}

test("level and window by filters are the linear map, also where the window leaves the range", () => {
  for (const [low, high] of [[0, 128], [50, 200], [-100, 100], [128, 129], [-300, 600], [200, 400]]) {
    const filters = windowFilter(low, high);
    for (let value = 0; value <= 255; value += 5) {
      const wanted = Math.min(1, Math.max(0, (value - low) / (high - low)));
      assert.ok(Math.abs(apply(filters, value / 255) - wanted) < 1e-9, `${low} to ${high} at ${value}`);
    }
  }
  assert.equal(windowFilter(0, 255), "");
});

test("a stroke that is drawn again gives the same pixels", () => {
  const labels = { data: new Uint8Array(64).fill(255), width: 8, height: 8 };
  const points = /** @type {[number, number][]} */ ([[1.5, 1.5], [6.5, 6.5]]);
  replay(labels, { tool: "brush", value: 2, radius: 1, points, runs: [] });
  replay(labels, { tool: "fill", value: 1, radius: 1, points: [], runs: [[0, 5, 8]] });
  replay(labels, { tool: "polygon", value: 3, radius: 1, points: [[0, 6], [2, 6], [2, 8], [0, 8]], runs: [] });
  assert.equal(labels.data[3 * 8 + 3], 2);
  assert.deepEqual([...labels.data.subarray(5, 8)], [1, 1, 1]);
  assert.equal(labels.data[6 * 8 + 1], 3);
  assert.equal(labels.data[0], 255);
});
