// The page that teaches: strokes in, a model out.

import { getJson } from "./api.js";
import { button, installChrome } from "./chrome.js";
import { byId, el, fill, h, show } from "./dom.js";
import { say } from "./errors.js";
import { plural } from "./format.js";
import { icon } from "./icons.js";
import { installKeys } from "./keys.js";
import { slider } from "./slider.js";
import { createClass, editClass, renderClasses } from "./teach/classes.js";
import { Desk } from "./teach/desk.js";
import { ImageList } from "./teach/list.js";
import { renderEstimate, renderFeatures, whyNext } from "./teach/panel.js";
import { arrange, findNext, firstSteps, isDone } from "./teach/project.js";
import { shortcuts } from "./teach/shortcuts.js";
import { Work } from "./teach/work.js";
import { Toolbar } from "./toolbar.js";

/** @typedef {import("./teach/desk.js").State} State */

const desk = new Desk(el("viewer"), () => toolbar.radius);
const toolbar = new Toolbar({ onTool: (tool) => desk.board.painting.choose(tool), onSize: () => desk.board.painting.resized() });
const list = new ImageList(el("list"), (image) => desk.open(desk.project.images.find((each) => each.id === image.id) ?? image));
const work = new Work(el("jobs"));
const order = byId("order", HTMLSelectElement);
/** @type {import("./teach/work.js").Method[]} */
let methods = [];
let shownBefore = 0.4;
let lookOf = ""; // the image whose window the sliders have

const arranged = () => arrange(desk.project.images, order.value);
const accepted = () => desk.project.images.filter((image) => image.state === "accepted" || image.accepted > 0).length;

/** @param {State} state @param {State} before */
function render(state, before) {
  renderSaved(state);
  const { project } = state;
  if (!project) return;
  if (project !== before.project || state.current !== before.current) {
    list.show(arranged());
    renderFeatures(el("features"), project);
    renderEstimate(el("estimate"), project);
    renderFoot(project);
  }
  if (state.current !== before.current) list.mark(state.current);
  if (project.classes !== before.project?.classes || state.paint !== before.paint) renderClasses(el("classes"), project.classes, state.paint, { paint, edit: (item) => editClass(item, desk.project.classes, (classes) => desk.keepClasses(classes)) });
  if (state.current !== before.current || state.slice === before.slice) renderLook();
  renderSlices(state);
  renderHint(state);
  toolbar.setHistory((desk.image?.strokes ?? 0) > 0 || (desk.image ? (desk.outbox?.of(desk.image.id).length ?? 0) > 0 : false), state.redo);
}

/** @param {State} state */
function renderSaved({ saved, waiting, online, project }) {
  const place = el("saved");
  if (!project) return;
  const lost = saved === "waiting" || !online;
  const text = saved === "waiting" ? `${plural(waiting, "stroke")} not saved, trying again` : !online ? "No connection, trying again" : saved === "saving" ? "Saving…" : "Saved";
  if (place.textContent === text) return;
  place.className = `saved ${lost ? "waiting" : saved === "saved" ? "ok" : ""}`;
  fill(place, icon(lost ? "warning" : saved === "saved" ? "check" : "retry"), h("span", {}, text));
}

/** @param {import("./teach/project.js").Project} project */
function renderFoot(project) {
  const next = findNext(project, desk.state.current);
  const isAccepted = desk.image !== null && isDone(desk.image);
  el("list-title").textContent = plural(project.images.length, "image");
  el("project-name").textContent = project.name;
  el("project-name").title = project.folder;
  fill(el("accept"), icon(isAccepted ? "retry" : "check"), isAccepted ? "Reopen" : (desk.image?.slices ?? 1) > 1 ? "Accept slice" : "Accept mask");
  byId("accept", HTMLButtonElement).disabled = !desk.image || (!isAccepted && desk.image.round === 0);
  show(el("reopen"), !isAccepted && (desk.image?.accepted ?? 0) > 0);
  byId("next", HTMLButtonElement).disabled = !next;
  el("next-why").textContent = whyNext(project, next);
}

function renderLook() {
  const { board } = desk;
  const { range, window: [low, high] } = board.meta;
  const span = range[1] - range[0] || 1;
  const whole = (/** @type {number} */ value) => String(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
  const share = (/** @type {number} */ value) => `${Math.round(value)} %`;
  const held = el("look").contains(document.activeElement) ? document.activeElement?.getAttribute("data-key") : null;
  const image = board.image?.id ?? "";
  if (held && image === lookOf) return; // the slider is in hand
  lookOf = image;
  const fade = (/** @type {"prediction" | "strokes"} */ layer) => (/** @type {number} */ value) => board.setOpacity(layer, value / 100);
  const window_ = () => board.meta.window;
  fill(el("look"), h("h3", {}, "Show"),
    slider("Prediction", board.opacity.prediction * 100, [0, 100], share, fade("prediction"), "prediction"),
    slider("Strokes", board.opacity.strokes * 100, [0, 100], share, fade("strokes"), "strokes"),
    slider("Level", (low + high) / 2, range, whole, (value) => { const half = (window_()[1] - window_()[0]) / 2; desk.setWindow(value - half, value + half); }, "level"),
    slider("Window", high - low, [span / 100, span * 1.5], whole, (value) => { const level = (window_()[0] + window_()[1]) / 2; desk.setWindow(level - value / 2, level + value / 2); }, "width"));
  if (held) /** @type {HTMLElement | null} */ (el("look").querySelector(`[data-key="${CSS.escape(held)}"]`))?.focus();
}

/** @param {State} state */
function renderSlices({ slice }) {
  const slices = desk.image?.slices ?? 1;
  const input = byId("slice", HTMLInputElement);
  show(el("slices"), slices > 1);
  input.max = String(slices - 1);
  input.value = String(slice);
  el("slice-text").textContent = `Slice ${slice + 1} of ${slices}`;
}

/** What to do first, in one sentence at a time. @param {State} state */
function renderHint({ project, waiting }) {
  const text = project ? firstSteps(project, waiting) : null;
  show(el("hint"), text !== null);
  if (text !== null && el("hint").textContent !== text) el("hint").textContent = text;
}

/** @param {number} id */
function paint(id) {
  desk.store.set({ paint: id });
  if (toolbar.tool === "hand" || toolbar.tool === "eraser") toolbar.choose("brush");
}

function accept() {
  const { image } = desk;
  if (!image || byId("accept", HTMLButtonElement).disabled) return;
  const what = isDone(image) ? "reopen" : "accept";
  desk.decide(what, what === "accept" && image.slices > 1 ? desk.state.slice : null);
}

function togglePrediction() {
  const { opacity } = desk.board;
  if (opacity.prediction > 0) shownBefore = opacity.prediction;
  desk.board.setOpacity("prediction", opacity.prediction > 0 ? 0 : shownBefore);
  renderLook();
}

/** @param {string} title @param {string} text @param {Node | null} action */
function renderStop(title, text, action = null) {
  el("start-title").textContent = title;
  el("start-text").textContent = text;
  fill(el("start-buttons"), action);
  el("work").classList.add("empty");
  for (const id of ["queue-panel", "side", "over", "lower"]) show(el(id), false);
  show(el("start"), true);
}

async function start() {
  const info = await getJson("info");
  methods = (info.methods ?? []).map((/** @type {any} */ item) => (typeof item === "string" ? { name: item } : item));
  show(el("segment-link"), info.models.length > 0);
  if (!info.teaching) return renderStop("No folder to teach from", "Start the server with one: dinoseg teach FOLDER");
  await desk.start();
  if (desk.project.images.length === 0) return renderStop("There is no image in this folder", `Put images or volumes into ${desk.project.folder}, then reload the page.`, button("Reload", () => location.reload(), { icon: "retry", kind: "primary" }));
  return work.resume();
}

installChrome();
desk.store.subscribe(render);
toolbar.choose("brush");
const sheet = installKeys(shortcuts({ desk, toolbar, next: () => desk.next(), move: (step) => desk.move(step, arranged()), accept, paint, togglePrediction }));
const clicks = /** @type {[string, () => void][]} */ ([
  ["help", sheet.open], ["undo", () => desk.step("undo")], ["redo", () => desk.step("redo")], ["next", () => desk.next()], ["accept", accept],
  ["reopen", () => desk.decide("reopen", null)],
  ["zoom-in", () => desk.board.viewer.zoomBy(1.4)], ["zoom-out", () => desk.board.viewer.zoomBy(1 / 1.4)], ["zoom-fit", () => desk.board.viewer.fit()],
  ["add-class", () => editClass(createClass(desk.project.classes), desk.project.classes, (classes) => desk.keepClasses(classes))],
  ["export", () => work.askExport(accepted())], ["train", () => work.askTrain(accepted(), methods)],
]);
for (const [id, act] of clicks) el(id).addEventListener("click", act);
order.addEventListener("change", () => list.show(arranged()));
byId("slice", HTMLInputElement).addEventListener("input", (event) => desk.showSlice(/** @type {HTMLInputElement} */ (event.target).valueAsNumber));
addEventListener("online", () => desk.outbox?.run());
addEventListener("beforeunload", (event) => { if (desk.state.waiting > 0) event.preventDefault(); });
start().catch((error) => renderStop("The server does not answer", say(error), button("Try again", () => location.reload(), { icon: "retry", kind: "primary" })));
