// What the stage says before there is an image: which model, where files go, or why nothing works.

import { el, fill, h, show } from "../dom.js";
import { button } from "../chrome.js";

/** @typedef {import("../colours.js").LabelClass} LabelClass */
/** @typedef {{name: string, method: string, backbone: string, classes: LabelClass[], channels: number, size: number[], context: number, licence: string | null}} Model */

const LOCAL = ["127.0.0.1", "localhost", "[::1]"];

/** @param {Model} model */
export function renderModel(model) {
  show(el("start-model"), true);
  fill(el("start-model"), h("p", { class: "quiet small" }, "The model ", h("b", {}, model.name), " marks"),
    h("ul", {}, model.classes.map((item) => h("li", {}, h("span", { class: "swatch", style: `background:${item.colour}` }), item.name))));
  el("where").textContent = LOCAL.includes(location.hostname)
    ? "Nothing leaves this computer."
    : `Files go to ${location.host} and nowhere else; results are deleted there after a quarter of an hour.`;
}

/** @param {boolean} teaching whether there is a project to go to */
export function renderNoModel(teaching) {
  el("start-title").textContent = "No model is loaded yet";
  fill(el("start-text"), "Start the server with a trained one: ", h("code", {}, "dinoseg serve runs/NAME"));
  fill(el("start-buttons"), teaching && h("a", { class: "button primary", href: "teach" }, "Teach one with a brush"));
}

/** @param {string} message @param {() => void} retry */
export function renderAway(message, retry) {
  el("start-title").textContent = "The server does not answer";
  el("start-text").textContent = message;
  fill(el("start-buttons"), button("Try again", retry, { icon: "retry", kind: "primary" }));
}
