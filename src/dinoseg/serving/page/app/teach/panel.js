// What the model has learnt: how good it is by its own reckoning, how long a round takes, how far the features are.

import { progressBar } from "../chrome.js";
import { fill, h, show } from "../dom.js";
import { about, plural, score } from "../format.js";

/** @typedef {import("./project.js").Project} Project */

/** @param {HTMLElement} element @param {Project} project */
export function renderEstimate(element, { estimate, seconds, round, images }) {
  const time = seconds === null || !images.some((image) => image.round > 0) ? null : h("p", { class: "quiet small number" }, `Round ${round} took ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`);
  if (!estimate) {
    const text = !images.some((image) => image.round > 0) ? "After the first strokes, the model's guess appears on every image." : "How good the model is can be said after strokes on a few more images.";
    return fill(element, h("h3", {}, "How good is it?"), h("p", { class: "quiet" }, text), time);
  }
  const { dice, low, high, advice, images: seen } = estimate;
  return fill(element, h("h3", {}, "How good is it?"),
    h("div", { class: "estimate-number" }, h("b", {}, score(dice)), h("span", { class: "number" }, `Dice, likely ${score(low)}–${score(high)}`)),
    h("div", { class: "range", "aria-hidden": "true", style: `--low:${low};--high:${high};--at:${dice}` }, h("i"), h("b")),
    h("p", {}, sentence(advice)),
    h("p", { class: "quiet small" }, `On what is painted: each of ${plural(seen, images.some((image) => image.slices > 1) ? "slice" : "image")} was predicted without its own strokes. Whole masks score lower.`), time);
}

/** @param {string} text */
function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1).replace(/\.?$/, ".") : "";
}

/** @param {HTMLElement} element @param {Project} project */
export function renderFeatures(element, { features }) {
  const { done, total, eta_s: left } = features;
  show(element, done < total);
  if (done < total) fill(element, h("span", {}, `Getting ready: ${done} of ${total}${left ? `, ${about(left)} left` : ""}`), progressBar("Images that are ready", total ? done / total : null));
}

/** @param {Project} project @param {import("./project.js").Image | null} next @returns {string} */
export function whyNext(project, next) {
  if (!next) return "Every image has been looked at.";
  return project.next === next.id && project.round > 0 ? "The one the model can learn most from" : "The next one without strokes";
}
