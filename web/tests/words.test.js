import assert from "node:assert/strict";
import { test } from "node:test";

import { toError } from "../../src/dinoseg/serving/page/app/api.js";
import { freeColour, palette, rgb } from "../../src/dinoseg/serving/page/app/colours.js";
import { about, area, percent, score, stem, volume } from "../../src/dinoseg/serving/page/app/format.js";
import { describe, share } from "../../src/dinoseg/serving/page/app/jobs.js";
import { findShortcut, nameKey } from "../../src/dinoseg/serving/page/app/keys.js";
import { createStore } from "../../src/dinoseg/serving/page/app/store.js";

test("numbers read like those of a report", () => {
  assert.deepEqual([about(0.4), about(42), about(200), about(9000)], ["a second", "42 s", "3 min", "2.5 h"]);
  assert.deepEqual([score(0.823), score(1), score(0.05)], [".82", "1.00", ".05"]);
  assert.deepEqual([percent(0), percent(0.0002), percent(0.034), percent(0.5)], ["0 %", "< 0.1 %", "3.4 %", "50 %"]);
  assert.deepEqual([area(3.456), area(12345)], ["3.46 mm²", "123.5 cm²"]);
  assert.deepEqual([volume(0.0123), volume(4.561), volume(120)], ["12.3 mm³", "4.56 ml", "120.0 ml"]);
  assert.deepEqual([stem("a/b/scan.nii.gz"), stem("x.y.png"), stem("IM0001")], ["scan", "x.y", "IM0001"]);
});

test("errors are the server's sentence, whatever its shape", () => {
  assert.equal(toError(422, { detail: "too large: at most 100 MB" }).message, "too large: at most 100 MB");
  assert.equal(toError(422, { detail: [{ msg: "Field required" }] }).message, "Field required");
  assert.match(toError(401, null).message, /token/);
  assert.equal(toError(503, null).passing, true);
  assert.equal(toError(429, null, 7).retryAfter, 7);
  assert.equal(toError(404, null).passing, false);
});

test("palettes have the bytes of the colours, and nothing for the hidden", () => {
  const classes = [{ id: 1, name: "a", colour: "#102030" }, { id: 3, name: "b", colour: "#ffffff" }];
  const bytes = new Uint8Array(palette(classes, new Set([3])).buffer);
  assert.deepEqual([...bytes.subarray(4, 8)], [16, 32, 48, 255]);
  assert.deepEqual([...bytes.subarray(0, 4), ...bytes.subarray(12, 16)], Array(8).fill(0));
  assert.deepEqual(rgb("#0a141e"), [10, 20, 30]);
  assert.ok(!classes.some((item) => item.colour === freeColour(classes)));
});

test("a job says how far it is", () => {
  const job = { id: "1", kind: "train", state: /** @type {const} */ ("running"), message: "epoch", result: null, error: null, progress: { done: 3, total: 12, eta_s: 40 } };
  assert.equal(describe(job), "epoch, 3 of 12, 40 s left");
  assert.equal(share(job), 0.25);
  assert.equal(share({ ...job, progress: null }), null);
});

test("keys are found by name, with Ctrl also as Cmd", () => {
  const plain = { ctrlKey: false, metaKey: false, shiftKey: false, altKey: false };
  const run = () => {};
  const list = [{ keys: "Ctrl+z", label: "", group: "", run }, { keys: "b or p", label: "", group: "", run }];
  assert.equal(findShortcut(list, nameKey({ ...plain, key: "Z", metaKey: true })), list[0]);
  assert.equal(findShortcut(list, nameKey({ ...plain, key: "p" })), list[1]);
  assert.equal(nameKey({ ...plain, key: "z", ctrlKey: true, shiftKey: true }), "Ctrl+Shift+z");
  assert.equal(nameKey({ ...plain, key: "?", shiftKey: true }), "?");
});

test("the store tells its readers before and after, until they leave", () => {
  const store = createStore({ one: 1, two: 2 });
  /** @type {number[][]} */
  const seen = [];
  const leave = store.subscribe((state, before) => seen.push([before.one, state.one, state.two]));
  store.set({ one: 5 });
  leave();
  store.set({ one: 6 });
  assert.deepEqual(seen, [[1, 5, 2]]);
});
