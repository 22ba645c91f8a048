// The classes: which one the brush paints, what they are called, which colour they have.

import { button, notify, openDialog } from "../chrome.js";
import { COLOURS, freeColour } from "../colours.js";
import { fill, h } from "../dom.js";
import { say } from "../errors.js";
import { icon } from "../icons.js";
import { BACKGROUND } from "./board.js";

/** @typedef {import("../colours.js").LabelClass} LabelClass */

/**
 * @param {HTMLElement} element @param {LabelClass[]} classes @param {number} paint id that the brush paints, 0 = background
 * @param {{paint: (id: number) => void, edit: (item: LabelClass) => void}} actions
 */
export function renderClasses(element, classes, paint, actions) {
  const held = element.contains(document.activeElement) ? document.activeElement?.getAttribute("data-key") : null;
  const line = (/** @type {LabelClass} */ item, /** @type {string} */ key) => h("li", {},
    h("button", {
      type: "button", class: "class-row", "aria-pressed": String(item.id === paint), "data-key": `class-${item.id}`, "data-testid": `class-${item.id}`,
      onclick: () => actions.paint(item.id),
    }, h("span", { class: "swatch", style: `background:${item.colour}` }), h("span", { class: "cut" }, item.name), h("kbd", { "aria-hidden": "true" }, key)),
    item.id > 0 && h("button", { type: "button", class: "icon-button slim", "aria-label": `Rename or recolour ${item.name}`, title: "Rename, recolour", "data-key": `edit-${item.id}`, onclick: () => actions.edit(item) }, icon("edit")));
  fill(element, classes.map((item, index) => line(item, index < 9 ? String(index + 1) : "")), line({ id: 0, name: "Background", colour: BACKGROUND }, "0"));
  if (held) /** @type {HTMLElement | null} */ (element.querySelector(`[data-key="${CSS.escape(held)}"]`))?.focus();
}

/** @param {LabelClass[]} classes @returns {LabelClass} a new one */
export function createClass(classes) {
  const id = Math.max(0, ...classes.map((item) => item.id)) + 1;
  return { id, name: "", colour: freeColour(classes) };
}

/**
 * @param {LabelClass} item @param {LabelClass[]} classes all of them
 * @param {(classes: LabelClass[]) => Promise<unknown>} keep
 */
export function editClass(item, classes, keep) {
  const isNew = !classes.some((each) => each.id === item.id);
  const name = h("input", { type: "text", value: item.name, required: true, maxlength: 60, autofocus: true, "aria-label": "Name of the class", placeholder: "for example: polyp" });
  const colour = h("input", { type: "color", value: item.colour, "aria-label": "Any colour" });
  const ready = COLOURS.map((each) => h("button", {
    type: "button", style: `--colour:${each}`, "aria-label": `Colour ${each}`, "aria-pressed": String(each === item.colour), onclick: () => choose(each),
  }));
  const choose = (/** @type {string} */ value) => {
    colour.value = value;
    ready.forEach((each, index) => each.setAttribute("aria-pressed", String(COLOURS[index] === value)));
  };
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const changed = { ...item, name: name.value.trim(), colour: colour.value };
    if (!changed.name) return name.focus();
    await tell(isNew ? [...classes, changed] : classes.map((each) => (each.id === item.id ? changed : each)));
    return undefined;
  };
  const remove = () => tell(classes.filter((each) => each.id !== item.id));
  const tell = (/** @type {LabelClass[]} */ next) => keep(next).then(() => dialog.close(), (error) => notify(say(error), "error"));
  const form = h("form", { id: "class-form", class: "choices", onsubmit: submit },
    h("div", { class: "class-form" }, colour, name), h("div", { class: "colours", role: "group", "aria-label": "Colours" }, ready));
  const dialog = openDialog(isNew ? "New class" : `Class ${item.name}`, [form], [
    ...(isNew || classes.length < 2 ? [] : [button("Remove", remove, { kind: "danger" })]),
    button("Cancel", () => dialog.close()),
    h("button", { class: "button primary", type: "submit", form: "class-form" }, isNew ? "Add" : "Keep"),
  ]);
}
