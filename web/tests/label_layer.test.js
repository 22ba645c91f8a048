import assert from "node:assert/strict";
import { test } from "node:test";

import { drawLabels, lookUp } from "../../src/dinoseg/serving/page/app/label_layer.js";

test("every pixel of the screen finds the pixel of the image below it", () => {
  assert.deepEqual([...lookUp(0, 6, 1, 2, 2)], [-1, 0, 0, 1, 1, -1]);
  assert.deepEqual([...lookUp(0, 3, 0, 0.5, 5)], [1, 3, -1]);
});

test("a part that is drawn again equals the whole", () => {
  const labels = { data: Uint8Array.from({ length: 35 }, (_, index) => index % 4), width: 7, height: 5 };
  const palette = Uint32Array.from({ length: 256 }, (_, index) => index * 1000);
  const view = { scale: 2.3, x: -1.5, y: 3 };
  const whole = new Uint32Array(20 * 16);
  drawLabels(labels, palette, view, { x0: 0, y0: 0, x1: 20, y1: 16 }, whole, 20);
  const parts = new Uint32Array(20 * 16).fill(7);
  for (const [x0, x1] of [[0, 6], [6, 20]]) drawLabels(labels, palette, view, { x0, y0: 0, x1, y1: 16 }, parts, 20);
  assert.deepEqual(parts, whole);
  assert.ok(new Set(whole).size === 4);
});
