// Exports and full trainings: asked for in a dialog, followed in the panel, also after the page was closed.

import { address, send } from "../api.js";
import { button, notify, openDialog, progressLine } from "../chrome.js";
import { fill, h, show } from "../dom.js";
import { isAbort, say } from "../errors.js";
import { cancel, describe, share, watch } from "../jobs.js";

/** @typedef {import("../jobs.js").Job} Job */
/** @typedef {{name: string, title?: string}} Method */

const KEPT = "dinoseg-jobs";

export class Work {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    /** @type {Map<string, ReturnType<typeof progressLine>>} of jobs that are under way */
    this.lines = new Map();
    /** @type {Set<string>} jobs that were cancelled and have not ended yet */
    this.stopping = new Set();
  }

  /** Goes on with what was under way when the page was left. */
  resume() {
    for (const id of this.kept()) this.follow(id);
  }

  /** @returns {string[]} */
  kept() {
    return (sessionStorage.getItem(KEPT) ?? "").split(" ").filter(Boolean);
  }

  /** @param {string[]} ids */
  keep(ids) {
    sessionStorage.setItem(KEPT, ids.join(" "));
  }

  /** @param {string} id */
  async follow(id) {
    this.keep([...new Set([...this.kept(), id])]);
    const card = h("div", { class: "choices", "data-testid": "job" });
    this.element.prepend(card);
    show(this.element, true);
    this.element.scrollIntoView({ block: "nearest" });
    try {
      this.finish(card, await watch(id, (job) => this.progress(card, job), new AbortController().signal));
    } catch (error) {
      if (isAbort(error)) this.remove(card);
      else this.fail(card, say(error));
    }
    this.keep(this.kept().filter((each) => each !== id));
  }

  /** @param {HTMLElement} card @param {Job} job */
  progress(card, job) {
    const name = job.kind === "train" ? "Training" : "Export";
    let line = this.lines.get(job.id);
    if (!line) {
      line = progressLine(name, () => this.stop(job.id));
      this.lines.set(job.id, line);
      fill(card, h("h3", {}, name), line.parts);
      this.element.scrollIntoView({ block: "nearest" });
    }
    line.update(this.stopping.has(job.id) ? "stopping" : describe(job), share(job));
  }

  /** A training needs a moment to end. @param {string} id */
  stop(id) {
    this.stopping.add(id);
    this.lines.get(id)?.update("stopping", null);
    cancel(id).catch((error) => notify(say(error), "error"));
  }

  /** @param {HTMLElement} card @param {Job} job */
  finish(card, job) {
    const result = job.result ?? {};
    const isExport = job.kind === "export";
    fill(card, h("div", { class: "row spread" }, h("h3", {}, isExport ? "Exported" : "Trained"), button("Close", () => this.remove(card), { kind: "slim" })),
      isExport && h("p", { class: "small" }, "Train it anywhere with"), isExport && h("code", { class: "code" }, `dinoseg train ${quote(result.folder)}`),
      !isExport && h("p", {}, result.model ? `The model “${result.model}” is ready.` : "The model is ready."),
      isExport ? h("a", { class: "button", href: address(`teach/exports/${job.id}.zip`), download: true }, "Download as zip")
        : h("a", { class: "button primary", href: "./" }, "Segment with it"));
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** @param {HTMLElement} card @param {string} message */
  fail(card, message) {
    fill(card, h("div", { class: "row spread" }, h("h3", {}, "Did not work"), button("Close", () => this.remove(card), { kind: "slim" })), h("p", { role: "alert" }, message));
  }

  /** @param {HTMLElement} card */
  remove(card) {
    card.remove();
    show(this.element, this.element.children.length > 0);
  }

  /** @param {string} path @param {unknown} body */
  async start(path, body) {
    try {
      this.follow((await send("POST", path, body)).id);
    } catch (error) {
      notify(say(error), "error");
    }
  }

  /** @param {number} accepted images with a label */
  askExport(accepted) {
    if (accepted === 0) return notify("There is nothing to export yet: accept the mask of an image first.");
    const name = h("input", { type: "text", value: "labels", pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]*", maxlength: 60, "aria-label": "Name" });
    const formats = choices("format", [["folder", "Image folder", "images/ and masks/, as dinoseg train and most programs read it"], ["nnunet", "nnU-Net raw", "imagesTr, labelsTr, dataset.json"]]);
    this.ask("Export the labels", [h("label", { class: "field" }, h("span", {}, "Name"), name), formats.element], "Export", () => this.start("teach/export", { format: formats.value(), name: name.value }));
    return undefined;
  }

  /** @param {number} accepted images with a label @param {Method[]} methods @param {string[]} presets */
  askTrain(accepted, methods, presets = ["default", "paper"]) {
    if (accepted === 0) return notify("There is nothing to learn from yet: accept the masks of some images first.");
    const method = h("select", { "aria-label": "Method" }, methods.map((item) => h("option", { value: item.name }, item.title ? `${item.name}: ${item.title}` : item.name)));
    const preset = h("select", { "aria-label": "Preset" }, presets.map((item) => h("option", { value: item }, item)));
    this.ask("Train fully", [
      h("p", {}, "A larger decoder learns from the masks that you accepted, in the background; you can go on painting. When it is done, it appears on the page “Segment”."),
      ...(methods.length > 0 ? [h("label", { class: "field" }, h("span", {}, "Method"), method)] : []),
      h("label", { class: "field" }, h("span", {}, "Preset"), preset),
    ], "Train", () => this.start("teach/train", { ...(methods.length > 0 ? { method: method.value } : {}), preset: preset.value }));
    return undefined;
  }

  /** @param {string} title @param {(Node | string)[]} body @param {string} verb @param {() => void} act */
  ask(title, body, verb, act) {
    const form = h("form", { id: "work-form", class: "choices", onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      dialog.close();
      act();
    } }, body);
    const dialog = openDialog(title, [form], [button("Cancel", () => dialog.close()), h("button", { class: "button primary", type: "submit", form: "work-form" }, verb)]);
  }
}

/** @param {string} path @returns {string} as a shell takes it */
function quote(path) {
  return /^[\w./~:\\-]+$/.test(path) ? path : `"${path}"`;
}

/** @param {string} name @param {[string, string, string][]} options value, title, explanation */
function choices(name, options) {
  const inputs = options.map(([value], index) => h("input", { type: "radio", name, value, checked: index === 0 }));
  const element = h("fieldset", { class: "choices" }, h("legend", { class: "sr-only" }, "Format"), options.map(([, title, text], index) => h("label", { class: "choice" },
    inputs[index], h("span", {}, h("b", {}, title), h("p", {}, text)))));
  return { element, value: () => inputs.find((input) => input.checked)?.value ?? options[0][0] };
}
