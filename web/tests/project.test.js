import assert from "node:assert/strict";
import { test } from "node:test";

import { arrange, findNext, firstSteps, isDone, isForeign, merge } from "../../src/dinoseg/serving/page/app/teach/project.js";

/** @typedef {import("../../src/dinoseg/serving/page/app/teach/project.js").Image} Image */
/** @typedef {import("../../src/dinoseg/serving/page/app/teach/project.js").Project} Project */

/** @param {string} id @param {Partial<Image>} more @returns {Image} */
const image = (id, more = {}) => ({ id, name: id, width: 9, height: 9, slices: 1, state: "new", strokes: 0, accepted: 0, features: "yes", uncertainty: null, round: 0, problem: null, ...more });

/** @param {Image[]} images @param {Partial<Project>} more @returns {Project} */
const project = (images, more = {}) => ({ name: "p", folder: "/p", classes: [], images, features: { done: 0, total: 0, eta_s: null }, round: 0, estimate: null, seconds: null, next: null, next_slice: null, ...more });

test("an event changes what it names and leaves the rest", () => {
  const before = project([image("a"), image("b", { strokes: 2 })], { round: 3 });
  const { project: after, changed } = merge(before, { round: 4, images: [image("b", { strokes: 3 }), image("c")] });
  assert.deepEqual(after.images.map((each) => [each.id, each.strokes]), [["a", 0], ["b", 3], ["c", 0]]);
  assert.deepEqual([after.round, after.name, changed.map((each) => each.id)], [4, "p", ["b", "c"]]);
  assert.equal(before.images.length, 2);
});

test("strokes of our own on their way are no news, those of another tab are", () => {
  assert.equal(isForeign(4, 6, 2), false); // two of ours have not arrived
  assert.equal(isForeign(6, 6, 0), false);
  assert.equal(isForeign(7, 6, 0), true);
  assert.equal(isForeign(5, 6, 0), true); // somebody took one back
});

test("the least sure comes first, the accepted last", () => {
  const images = [image("a", { uncertainty: 0.1 }), image("b", { uncertainty: 0.9 }), image("c", { state: "accepted", accepted: 1, uncertainty: 1 }), image("d")];
  assert.deepEqual(arrange(images, "unsure").map((each) => each.id), ["b", "a", "d", "c"]);
  assert.equal(arrange(images, "folder"), images);
});

test("next is what the server offers, else an image without strokes that can be read", () => {
  const images = [image("a"), image("b", { problem: "cut off" }), image("c")];
  assert.equal(findNext(project(images, { next: "c" }), "a")?.id, "c");
  assert.equal(findNext(project(images, { next: "a" }), "a")?.id, "c");
  assert.equal(findNext(project([image("a", { state: "accepted", accepted: 1 })]), "a"), null);
});

test("somebody who begins is told the next step until the model answers", () => {
  const classes = [{ id: 1, name: "polyp", colour: "#e69f00" }];
  const ready = { classes, features: { done: 1, total: 2, eta_s: null } };
  assert.match(firstSteps(project([image("a")], ready), 0) ?? "", /^Paint a little of the polyp/);
  assert.match(firstSteps(project([image("a")], ready), 1) ?? "", /choose Background/);
  assert.match(firstSteps(project([image("a", { strokes: 1 })], { classes }), 0) ?? "", /getting ready/);
  assert.equal(firstSteps(project([image("a", { strokes: 2, round: 1 })], ready), 0), null);
  assert.equal(firstSteps(project([]), 0), null);
});

test("a volume is done when all its slices are", () => {
  assert.equal(isDone(image("v", { slices: 30, accepted: 2, state: "accepted" })), false);
  assert.equal(isDone(image("v", { slices: 30, accepted: 30, state: "accepted" })), true);
});
