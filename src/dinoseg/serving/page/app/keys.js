// Shortcuts, and the sheet that lists them. Keys act while nobody types; whoever needs the letters for something
// else (speech input, other software) switches them off in the sheet.

import { h } from "./dom.js";

/**
 * @typedef {object} Shortcut
 * @property {string} keys as people read them: "b", "Ctrl+z", "?"; several with " or "
 * @property {string} label
 * @property {string} group empty: not in the sheet
 * @property {((event: KeyboardEvent) => void) | null} run null only stands in the sheet
 */

const OFF = "dinoseg-keys-off";

/** @param {{key: string, ctrlKey: boolean, metaKey: boolean, shiftKey: boolean, altKey: boolean}} event @returns {string} */
export function nameKey(event) {
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  const letter = event.key.length === 1;
  const shift = event.shiftKey && (control || !letter) ? "Shift+" : "";
  return control + shift + (letter ? event.key.toLowerCase() : event.key);
}

/** @param {Shortcut[]} shortcuts @param {string} name @returns {Shortcut | undefined} */
export function findShortcut(shortcuts, name) {
  return shortcuts.find((item) => item.run && item.keys.split(" or ").includes(name));
}

/** @param {EventTarget | null} target whether keys mean letters there */
function takesText(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button", "color", "file"].includes(target.type);
  return target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName);
}

/** @param {KeyboardEvent} event a button needs Enter, a slider arrows; digits stay ours */
function isTaken(event) {
  if (event.key === "Enter" && event.target instanceof Element && event.target.closest("button, a, summary")) return true;
  const slider = event.target instanceof HTMLInputElement && event.target.type === "range";
  if (slider) return event.key.startsWith("Arrow") || ["Home", "End", "PageUp", "PageDown"].includes(event.key);
  return takesText(event.target) || document.querySelector("dialog[open]") !== null;
}

/**
 * @param {Shortcut[]} shortcuts
 * @returns {{open: () => void}} the sheet
 */
export function installKeys(shortcuts) {
  const sheet = createSheet(shortcuts);
  document.body.append(sheet);
  const open = () => sheet.showModal();
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.defaultPrevented || isTaken(event)) return;
    const name = nameKey(event);
    if (name === "?") return open();
    const off = localStorage.getItem(OFF) === "yes" && !name.startsWith("Ctrl+");
    const shortcut = off ? undefined : findShortcut(shortcuts, name);
    if (!shortcut?.run) return undefined;
    event.preventDefault();
    shortcut.run(event);
    return undefined;
  });
  return { open };
}

/** @param {Shortcut[]} shortcuts */
function createSheet(shortcuts) {
  const groups = [...new Set(shortcuts.map((item) => item.group).filter(Boolean))];
  const toggle = h("input", {
    type: "checkbox",
    checked: localStorage.getItem(OFF) !== "yes",
    onchange: () => localStorage.setItem(OFF, toggle.checked ? "no" : "yes"),
  });
  const sheet = h("dialog", { class: "dialog wide", "aria-labelledby": "keys-title", "data-testid": "help-sheet" },
    h("h2", { id: "keys-title" }, "Keys and gestures"),
    h("div", { class: "key-groups" }, groups.map((group) => createGroup(group, shortcuts))),
    h("label", { class: "check" }, toggle, "Single keys are shortcuts"),
    h("form", { method: "dialog", class: "dialog-buttons" }, h("button", { class: "button primary", autofocus: true }, "Close")));
  sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
  return sheet;
}

/** @param {string} group @param {Shortcut[]} shortcuts */
function createGroup(group, shortcuts) {
  const rows = shortcuts.filter((item) => item.group === group).map((item) => h("div", { class: "key-row" },
    h("dt", {}, item.keys.split(" or ").flatMap((keys, index) => [index > 0 ? " or " : "", h("kbd", {}, showKeys(keys))])),
    h("dd", {}, item.label)));
  return h("section", {}, h("h3", {}, group), h("dl", {}, rows));
}

/** @param {string} keys */
function showKeys(keys) {
  return keys.length === 1 ? keys.toUpperCase() : keys.replace(/\+([a-z])$/, (_, letter) => `+${letter.toUpperCase()}`).replace(/Arrow(?!s)/, "");
}
