// The panel of the result: what was found and how large it is, how it is shown, what can be downloaded.

import { button } from "../chrome.js";
import { fill, h } from "../dom.js";
import { area, percent, volume } from "../format.js";
import { icon } from "../icons.js";
import { slider } from "../slider.js";

/** @typedef {import("./queue.js").Item} Item */
/** @typedef {import("./queue.js").Measured} Measured */
/**
 * @typedef {object} Look
 * @property {Measured[]} classes measured on the mask as it is now
 * @property {Set<number>} hidden
 * @property {number} paint id of the class that the brush paints
 * @property {number} opacity 0 to 1
 * @property {[number, number]} window
 * @property {[number, number]} range of the window
 */
/**
 * @typedef {object} Actions
 * @property {(id: number) => void} toggle
 * @property {(id: number) => void} paint
 * @property {(opacity: number) => void} opacity
 * @property {(low: number, high: number) => void} window
 * @property {() => void} resetWindow
 * @property {(name: string) => void} download
 * @property {() => void} again
 */

/** @param {Measured} item */
function amount(item) {
  if (item.volume_ml !== null && item.volume_ml !== undefined) return volume(item.volume_ml);
  return item.area_mm2 !== null && item.area_mm2 !== undefined ? area(item.area_mm2) : null;
}

/** @param {HTMLElement} panel @param {Item} item @param {Look} look @param {Actions} actions */
export function renderSide(panel, item, look, actions) {
  const result = /** @type {import("./queue.js").Result} */ (item.result);
  const held = panel.contains(document.activeElement) ? document.activeElement?.getAttribute("data-key") : null;
  const top = panel.scrollTop;
  fill(panel, renderHead(item, result), renderClasses(look, actions), renderPicture(look, actions), renderDownloads(item, result, actions));
  panel.scrollTop = top;
  if (held) /** @type {HTMLElement | null} */ (panel.querySelector(`[data-key="${CSS.escape(held)}"]`))?.focus();
}

/** @param {Item} item @param {import("./queue.js").Result} result */
function renderHead(item, result) {
  const size = [result.width, result.height, ...(result.kind === "volume" ? [result.slices] : [])].join(" × ");
  const spacing = result.spacing ? ` · ${[...result.spacing].reverse().map((mm) => Number(mm.toPrecision(3))).join(" × ")} mm` : "";
  return h("div", { class: "section" }, h("h2", { class: "cut", title: item.parcel.name }, item.parcel.name),
    h("p", { class: "quiet small number" }, size + spacing),
    (result.warnings ?? []).map((warning) => h("div", { class: "banner" }, icon("warning"), h("p", {}, warning))));
}

/** @param {Look} look @param {Actions} actions */
function renderClasses({ classes, hidden, paint, opacity }, actions) {
  return h("div", { class: "section" }, h("h3", {}, "Found"),
    h("ul", { class: "legend", "data-testid": "legend" }, classes.map((item) => h("li", {},
      h("button", {
        type: "button", class: "icon-button slim", "aria-pressed": String(!hidden.has(item.id)), "aria-label": `Show ${item.name}`,
        "data-key": `eye-${item.id}`, onclick: () => actions.toggle(item.id),
      }, icon(hidden.has(item.id) ? "eyeOff" : "eye")),
      h("button", {
        type: "button", class: "class-row", "aria-pressed": String(item.id === paint), "data-key": `class-${item.id}`,
        title: `Paint ${item.name}`, onclick: () => actions.paint(item.id),
      }, h("span", { class: "swatch", style: `background:${item.colour}` }), h("span", { class: "cut" }, item.name),
      h("span", { class: "amount" }, amount(item) ?? percent(item.share), amount(item) && h("small", {}, percent(item.share))))))),
    slider("Mask", opacity * 100, [0, 100], (value) => `${Math.round(value)} %`, (value) => actions.opacity(value / 100), "opacity"));
}

/** @param {Look} look @param {Actions} actions */
function renderPicture({ window: [low, high], range }, actions) {
  const write = (/** @type {number} */ value) => String(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
  const [level, width, span] = [(low + high) / 2, high - low, range[1] - range[0]];
  return h("div", { class: "section" }, h("div", { class: "row spread" }, h("h3", {}, "Picture"),
    h("button", { type: "button", class: "button slim", "data-key": "reset", onclick: actions.resetWindow }, "Reset")),
  slider("Level", level, range, write, (value, box) => {
    const half = Number(box.dataset.width ?? width) / 2;
    actions.window(value - half, value + half);
  }, "level"),
  slider("Window", width, [span / 100, span * 1.5], write, (value) => actions.window(level - value / 2, level + value / 2), "width"));
}

/** @param {Item} item @param {import("./queue.js").Result} result @param {Actions} actions */
function renderDownloads(item, result, actions) {
  const isVolume = result.kind === "volume";
  const offer = (/** @type {string} */ label, /** @type {string} */ name, /** @type {string} */ note, kind = "") => h("button", {
    type: "button", class: `button wide ${kind}`, "data-key": name, "data-testid": `download-${name}`, onclick: () => actions.download(name),
  }, icon("download"), label, h("small", {}, note));
  return h("div", { class: "section" }, h("h3", {}, "Download"), h("div", { class: "downloads" },
    isVolume ? offer("Mask", "mask.nii.gz", "NIfTI", "primary") : offer("Mask", "mask.png", "PNG, native size", "primary"),
    isVolume ? offer("Picture of the view", "view.png", "PNG") : offer("Overlay", "overlay.png", "PNG"),
    result.outputs.includes("seg.dcm") && offer("Segmentation", "seg.dcm", item.corrected ? "DICOM, uncorrected" : "DICOM SEG"),
    offer("Measures", "measures.json", "JSON")),
  button(`Run again`, actions.again, { icon: "retry", kind: "wide slim" }));
}
