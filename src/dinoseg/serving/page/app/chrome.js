// What both pages share around their work: dark and light, notices, dialogs.

import { el, h } from "./dom.js";
import { icon, placeIcons } from "./icons.js";

const THEME = "dinoseg-theme";

/** Icons, the colour scheme that was chosen, and the button that changes it. */
export function installChrome() {
  placeIcons();
  const root = document.documentElement;
  const chosen = localStorage.getItem(THEME);
  if (chosen) root.style.colorScheme = chosen;
  el("theme").addEventListener("click", () => {
    const dark = root.style.colorScheme ? root.style.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.style.colorScheme = dark ? "light" : "dark";
    localStorage.setItem(THEME, root.style.colorScheme);
  });
}

/**
 * A sentence at the lower edge; an error stays until it is closed.
 * @param {string} message @param {"info" | "error"} kind
 */
export function notify(message, kind = "info") {
  const box = el("notices");
  const parent = document.querySelector("dialog[open]") ?? document.body; // an open dialog lies over everything else
  if (box.parentElement !== parent) parent.append(box);
  for (const old of [...box.children]) if (old.textContent === message) old.remove();
  const close = () => notice.remove();
  const notice = h("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    kind === "error" && icon("warning"), h("p", {}, message),
    h("button", { class: "icon-button", "aria-label": "Close this message", onclick: close }, icon("close")));
  box.append(notice);
  if (kind === "info") setTimeout(close, 6000);
}

/**
 * @param {string} title @param {(Node | string)[]} body @param {(Node | string)[]} buttons
 * @returns {HTMLDialogElement} open; taken off the page when it closes
 */
export function openDialog(title, body, buttons) {
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" },
    h("h2", { id: "dialog-title" }, title), body, h("div", { class: "dialog-buttons" }, buttons));
  dialog.addEventListener("close", () => {
    document.body.append(el("notices")); // they stay
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * @param {string} label @param {() => void} onclick
 * @param {{icon?: string, kind?: string, testid?: string}} options
 */
export function button(label, onclick, { icon: name, kind = "", testid } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, onclick, "data-testid": testid }, name && icon(name), label);
}

/**
 * A line of text, a bar and a button that stay the same elements while the work goes on: a button that is replaced
 * under the pointer, or under the keyboard's focus, cannot be pressed.
 * @param {string} label what it progresses @param {() => void} onCancel
 */
export function progressLine(label, onCancel) {
  const [text, bar] = [h("p", { role: "status", class: "small number" }), h("progress", { "aria-label": label, max: 1 })];
  return {
    parts: [text, bar, button("Cancel", onCancel, { kind: "slim" })],
    /** @param {string} words @param {number | null} share 0 to 1, null while nobody knows */
    update(words, share) {
      if (text.textContent !== words) text.textContent = words;
      if (share === null) bar.removeAttribute("value");
      else bar.value = share;
    },
  };
}

/** @param {string} label what it progresses @param {number | null} share 0 to 1, null while nobody knows */
export function progressBar(label, share) {
  return h("progress", { "aria-label": label, max: 1, value: share });
}
