// A teaching project in memory: strokes are kept per slice, and the prediction is the made-up blob, better with
// every stroke.

import { brushLine, paintRuns, polygonRuns, UNPAINTED } from "../../src/dinoseg/serving/page/app/tools.js";
import { labels, picture, png } from "./pictures.js";
import { startJob } from "./segment.js";

/** @typedef {import("./answers.js").Asked} Asked */
/** @typedef {import("./answers.js").Answer} Answer */

const [WIDTH, HEIGHT] = [512, 384];
const images = Array.from({ length: 24 }, (_, index) => ({
  id: `a${String(index).padStart(11, "0")}`, name: index === 3 ? "liver_ct.nii.gz" : `colon/frame_${String(index + 1).padStart(3, "0")}.png`, width: WIDTH, height: HEIGHT,
  slices: index === 3 ? 12 : 1, state: "new", strokes: 0, accepted: 0, problem: null, features: "no", uncertainty: /** @type {number | null} */ (null), round: 0,
}));
const project = {
  name: "colon", folder: "/data/colon", classes: [{ id: 1, name: "polyp", colour: "#e69f00" }], images,
  features: { done: 0, total: images.length, eta_s: /** @type {number | null} */ (null) }, round: 0, estimate: /** @type {any} */ (null), seconds: /** @type {number | null} */ (null), next: images[0].id,
};
/** @type {Map<string, any[]>} */
const strokes = new Map();
/** @type {Map<string, any[]>} */
const undone = new Map();
/** @type {Set<{send: (value: unknown) => void}>} */
const listeners = new Set();

/** @param {any[]} changed */
function tell(changed) {
  for (const listener of listeners) listener.send({ type: "project", project: { ...project, images: changed } });
}

setInterval(() => {
  const open = images.find((image) => image.features === "no");
  if (!open) return;
  open.features = "yes";
  project.features = { done: project.features.done + 1, total: images.length, eta_s: (images.length - project.features.done) * 0.7 };
  tell([open]);
}, Number(process.env.FEATURES_MS ?? 700));

/** @param {string} id */
function learn(id) {
  project.round += 1;
  project.seconds = 0.8;
  for (const [index, image] of images.entries()) Object.assign(image, { round: project.round, uncertainty: ((index * 37 + project.round * 11) % 97) / 100 });
  project.estimate = project.round < 3 ? null : { dice: 0.82, low: 0.75, high: 0.88, images: 3, advice: "more labels help" };
  project.next = images.find((image) => image.id !== id && image.state === "new")?.id ?? "";
  tell(images);
}

/** @param {string} id @param {number} slice */
function drawStrokes(id, slice) {
  const map = { data: new Uint8Array(WIDTH * HEIGHT).fill(UNPAINTED), width: WIDTH, height: HEIGHT };
  for (const item of (strokes.get(id) ?? []).filter((each) => each.slice === slice)) {
    const value = item.tool === "eraser" ? UNPAINTED : item.class;
    if (item.tool === "fill") paintRuns(map, item.runs, value);
    else if (item.tool === "polygon") paintRuns(map, polygonRuns(map, item.points), value);
    else brushLine(map, item.points, item.radius, value);
  }
  return map.data;
}

/** @param {string} id */
function touch(id) {
  const image = /** @type {any} */ (images.find((each) => each.id === id));
  image.strokes = (strokes.get(id) ?? []).length;
  if (image.state !== "accepted") image.state = image.strokes > 0 ? "stroked" : "new";
  tell([image]);
}

/** @param {Asked} asked @param {Answer} answer */
export function teach(asked, answer) {
  const path = asked.path.replace("/api/v1/teach/", "");
  const key = `${asked.method} ${path}`;
  if (key === "GET project") answer.json(project);
  else if (key === "GET events") {
    const stream = answer.events();
    listeners.add(stream);
    stream.onClose(() => listeners.delete(stream));
  } else if (key === "PUT classes") {
    project.classes = JSON.parse(asked.body.toString());
    tell([]);
    answer.json(project.classes);
  } else if (key === "POST export") answer.json({ id: startJob("export", 6, (job) => { job.result = { path: "/data/colon/.dinoseg/exports/labels", command: "dinoseg train /data/colon/.dinoseg/exports/labels", images: 3 }; }).id }, 202);
  else if (key === "POST train") answer.json({ id: startJob("train", 40, (job) => { job.result = { model: "colon-1", run: "/data/colon/.dinoseg/runs/colon-1", dice: 0.86 }; }).id }, 202);
  else return serveImage(asked, path, answer);
  return true;
}

/** @param {Asked} asked @param {string} path @param {Answer} answer */
function serveImage(asked, path, answer) {
  const [, id, what] = /^images\/(\w+)\/(\w+)$/.exec(path) ?? [];
  const index = images.findIndex((image) => image.id === id);
  if (index < 0) return false;
  const slice = Number(asked.query.get("slice") ?? 0);
  if (what === "picture") answer.bytes(makePicture(index, slice, Number(asked.query.get("size") ?? 0)), "image/png");
  else if (what === "meta") answer.json({ range: [0, 255], window: [0, 255], spacing: null });
  else if (what === "labels") answer.bytes(png(drawStrokes(id, slice), WIDTH, HEIGHT), "image/png");
  else if (what === "prediction" && project.round === 0) answer.error(404, "no round yet: paint a first stroke");
  else if (what === "prediction") answer.bytes(png(labels(WIDTH, HEIGHT, index + slice / 9).map((value) => Math.min(1, value)), WIDTH, HEIGHT), "image/png", { "X-Round": String(project.round) });
  else return change(id, what, asked, answer);
  return true;
}

/** @param {number} index @param {number} slice @param {number} size */
function makePicture(index, slice, size) {
  const [width, height] = size ? [size, Math.round((size * HEIGHT) / WIDTH)] : [WIDTH, HEIGHT];
  return png(picture(width, height, index + slice / 9), width, height, 3);
}

/** @param {string} id @param {string} what @param {Asked} asked @param {Answer} answer */
function change(id, what, asked, answer) {
  const list = strokes.get(id) ?? [];
  const image = /** @type {any} */ (images.find((each) => each.id === id));
  if (what === "strokes") {
    const stroke = JSON.parse(asked.body.toString());
    if (!list.some((item) => item.client === stroke.client)) strokes.set(id, [...list, stroke]);
    undone.set(id, []);
    answer.json({ stroke: list.length + 1, round: project.round }, 201);
    touch(id);
    setTimeout(() => learn(id), 800);
  } else if (what === "undo" || what === "redo") {
    const [from, to] = what === "undo" ? [strokes, undone] : [undone, strokes];
    const last = from.get(id)?.at(-1);
    if (last) {
      from.set(id, (from.get(id) ?? []).slice(0, -1));
      to.set(id, [...(to.get(id) ?? []), last]);
    }
    answer.json({ strokes: (strokes.get(id) ?? []).length });
    touch(id);
  } else if (what === "accept" || what === "reopen") {
    image.state = what === "accept" ? "accepted" : image.strokes > 0 ? "stroked" : "new";
    image.accepted = what === "accept" ? Math.min(image.slices, image.accepted + 1) : 0;
    answer.json({});
    tell([image]);
  } else return false;
  return true;
}
