// The page that segments: files in, masks out.

import { getJson } from "./api.js";
import { installChrome, notify } from "./chrome.js";
import { byId, el, fill, h, save, show } from "./dom.js";
import { say } from "./errors.js";
import { plural } from "./format.js";
import { installKeys } from "./keys.js";
import { Stage } from "./segment/stage.js";
import { acceptDrops, chooseFiles } from "./segment/intake.js";
import { List } from "./segment/list.js";
import { Queue } from "./segment/queue.js";
import { renderAway, renderModel, renderNoModel } from "./segment/start.js";
import { shortcuts } from "./segment/shortcuts.js";
import { createStore } from "./store.js";
import { toZip } from "./zip.js";

/** @typedef {import("./segment/queue.js").Item} Item */
/** @typedef {import("./segment/start.js").Model} Model */

const store = createStore({
  /** @type {Model[]} */ models: [],
  /** @type {Item | null} */ current: null,
});
const picker = byId("model", HTMLSelectElement);
const stage = new Stage({ onCorrected: (item) => list.update(item), onAgain: (item) => queue.again(item, picker.value), onCancel: (item) => queue.stop(item) });
const queue = new Queue((item) => onChange(item));
const list = new List(el("queue"), { open: (item) => open(item), close: (item) => close(item) });

/** @param {Item} item */
function onChange(item) {
  list.update(item);
  if (item === store.get().current) stage.show(item);
  const done = queue.items.filter((each) => each.state === "done" && each.result?.kind === "image");
  show(el("queue-foot"), done.length > 1);
}

/** @param {Item | null} item */
function open(item) {
  store.set({ current: item });
  list.mark(item);
  stage.show(item);
}

/** @param {Item} item cancels what is under way, removes what is over */
function close(item) {
  if (["waiting", "sending", "working"].includes(item.state)) return queue.stop(item);
  if (item.corrected && !confirm(`Remove ${item.parcel.name} with your corrections?`)) return undefined;
  const index = queue.items.indexOf(item);
  queue.remove(item);
  list.remove(item);
  if (item === store.get().current) open(queue.items[Math.min(index, queue.items.length - 1)] ?? null);
  return layOut();
}

/** @param {import("./segment/files.js").Parcel[]} parcels @param {string[]} left */
function take(parcels, left) {
  if (store.get().models.length === 0) return notify("No model is loaded, so nothing can be segmented yet.", "error");
  if (left.length > 0) notify(`${plural(left.length, "file")} left out, such as ${left[0]}: dinoseg reads images, NIfTI, NRRD, MetaImage, DICOM and zips of it.`);
  const items = parcels.map((parcel) => queue.add(parcel, picker.value));
  for (const item of items) list.add(item);
  layOut();
  if (!store.get().current && items.length > 0) open(items[0]);
  return undefined;
}

function layOut() {
  const count = queue.items.length;
  el("work").classList.toggle("empty", count === 0);
  show(el("queue-panel"), count > 0);
  show(el("side"), count > 0);
  show(el("start"), count === 0);
  el("queue-title").textContent = plural(count, "image");
  if (count === 0) stage.show(null);
}

/** @param {number} step */
function move(step) {
  const { current } = store.get();
  const next = queue.items[(current ? queue.items.indexOf(current) : -1) + step];
  if (next) open(next);
}

async function saveAll() {
  const done = queue.items.filter((item) => item.state === "done" && item.result?.kind === "image");
  const files = await Promise.all(done.map(async (item) => ({ name: stage.fileName(item, "mask.png"), bytes: await stage.maskOf(item) })));
  save(toZip(files), "masks.zip");
}

async function start() {
  const [info, models] = await Promise.all([getJson("info"), getJson("models")]);
  store.set({ models });
  show(el("teach-link"), info.teaching);
  fill(picker, models.map((/** @type {Model} */ model) => h("option", { value: model.name }, model.name)));
  show(el("model-pick"), models.length > 0);
  const describe = () => renderModel(models.find((/** @type {Model} */ model) => model.name === picker.value));
  picker.addEventListener("change", describe);
  if (models.length > 0) describe();
  else renderNoModel(info.teaching);
}

installChrome();
const sheet = installKeys(shortcuts({ stage, move, close: () => { const { current } = store.get(); if (current) close(current); } }));
el("help").addEventListener("click", sheet.open);
el("save-all").addEventListener("click", () => saveAll().catch((error) => notify(say(error), "error")));
chooseFiles(take);
acceptDrops(take);
addEventListener("beforeunload", (event) => {
  if (queue.items.some((item) => item.corrected)) event.preventDefault();
});
start().catch((error) => renderAway(say(error), () => location.reload()));
