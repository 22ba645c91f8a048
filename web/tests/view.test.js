import assert from "node:assert/strict";
import { test } from "node:test";

import { fit, hold, toImage, toScreen, zoom } from "../../src/dinoseg/serving/page/app/view.js";

const IMAGE = { width: 4000, height: 3000 };
const SCREEN = { width: 800, height: 400 };

test("fit shows the whole image in the middle", () => {
  const view = fit(IMAGE, SCREEN, { side: 0, top: 0, bottom: 0 });
  assert.deepEqual(toScreen(view, [2000, 1500]), [400, 200]);
  assert.ok(Math.abs(view.scale - 400 / 3000) < 1e-12);
});

test("the tools above the image cover nothing of it", () => {
  const view = fit(IMAGE, SCREEN, { side: 10, top: 50, bottom: 10 });
  const [, top] = toScreen(view, [0, 0]);
  const [, bottom] = toScreen(view, [4000, 3000]);
  assert.ok(top >= 50 - 1e-9 && bottom <= 390 + 1e-9);
});

test("zoom leaves what is under the pointer where it is", () => {
  const before = fit(IMAGE, SCREEN, { side: 16, top: 64, bottom: 16 });
  const at = toImage(before, [123, 77]);
  const after = zoom(before, 3.7, [123, 77]);
  const [x, y] = toScreen(after, at);
  assert.ok(Math.abs(x - 123) < 1e-9 && Math.abs(y - 77) < 1e-9);
  assert.ok(Math.abs(after.scale / before.scale - 3.7) < 1e-12);
});

test("the zoom ends at 64 screen pixels per image pixel", () => {
  assert.equal(zoom({ scale: 60, x: 0, y: 0 }, 10, [0, 0]).scale, 64);
});

test("an image cannot be lost beyond the edge", () => {
  const view = hold({ scale: 1, x: 99_999, y: -99_999 }, IMAGE, SCREEN, 48);
  assert.deepEqual([view.x, view.y], [800 - 48, 48 - 3000]);
});

test("to the screen and back is the same point", () => {
  const view = { scale: 0.37, x: -12.5, y: 8 };
  const [x, y] = toImage(view, toScreen(view, [31.5, 7.25]));
  assert.ok(Math.abs(x - 31.5) < 1e-9 && Math.abs(y - 7.25) < 1e-9);
});
