import assert from "node:assert/strict";
import { test } from "node:test";

import { History } from "../../src/dinoseg/serving/page/app/history.js";
import { brush } from "../../src/dinoseg/serving/page/app/tools.js";

test("undo and redo walk through every state exactly", () => {
  const labels = { data: new Uint8Array(400), width: 20, height: 20 };
  const history = new History(labels);
  const states = [labels.data.slice()];
  for (const [index, [x, y]] of [[4, 4], [6, 5], [30, 30], [5, 5], [12, 15]].entries()) {
    const rect = brush(labels, [x, y], [x + 3, y], 3, index + 1);
    history.record(rect);
    if (rect) states.push(labels.data.slice()); // the third is outside: nothing to undo
  }
  for (const state of states.slice(0, -1).reverse()) {
    history.undo();
    assert.deepEqual(labels.data, state);
  }
  assert.equal(history.undo(), null);
  for (const state of states.slice(1)) {
    history.redo();
    assert.deepEqual(labels.data, state);
  }
  assert.equal(history.redo(), null);
});

test("a new stroke ends the redo", () => {
  const labels = { data: new Uint8Array(100), width: 10, height: 10 };
  const history = new History(labels);
  history.record(brush(labels, [2, 2], [2, 2], 2, 1));
  history.undo();
  history.record(brush(labels, [7, 7], [7, 7], 2, 2));
  assert.equal(history.canRedo, false);
  history.undo();
  assert.ok(labels.data.every((value) => value === 0));
});

test("a stroke that was broken off leaves nothing", () => {
  const labels = { data: new Uint8Array(100), width: 10, height: 10 };
  const history = new History(labels);
  history.record(brush(labels, [2, 2], [2, 2], 2, 1));
  const kept = labels.data.slice();
  history.drop(brush(labels, [3, 3], [8, 8], 2, 2));
  assert.deepEqual(labels.data, kept);
});
