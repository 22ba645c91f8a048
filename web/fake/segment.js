// Models, predictions and their jobs. A file called "bad…" fails, one called "slow…" takes long.

import { count } from "../../src/dinoseg/serving/page/app/tools.js";
import { labels, nifti, picture, png } from "./pictures.js";

/** @typedef {import("./answers.js").Asked} Asked */
/** @typedef {import("./answers.js").Answer} Answer */

const CLASSES = [{ id: 1, name: "polyp", colour: "#e69f00" }, { id: 2, name: "core", colour: "#56b4e9" }];
const MODELS = process.env.NO_MODELS ? [] : [
  { name: "kvasir", method: "segdino-v2", backbone: "dinov3_vits16", classes: CLASSES, channels: 3, size: [256, 256], context: 0, licence: "DINOv3 License" },
  { name: "isic", method: "linear", backbone: "dinov2_vits14", classes: CLASSES.slice(0, 1), channels: 3, size: [256, 256], context: 0, licence: null },
];
/** @type {Map<string, any>} */
const jobs = new Map();
let number = 0;

/** @param {string} kind @param {number} steps @param {(job: any) => void} finish */
export function startJob(kind, steps, finish) {
  number += 1;
  /** @type {any} */
  const job = { id: `job${number}`, kind, state: "queued", progress: null, message: null, result: null, error: null };
  jobs.set(job.id, job);
  let done = 0;
  const timer = setInterval(() => {
    if (job.state === "cancelled") return clearInterval(timer);
    if (done >= steps) {
      clearInterval(timer);
      job.state = "done";
      return finish(job);
    }
    done += 1;
    job.state = "running";
    job.progress = { done, total: steps, eta_s: (steps - done) * 0.2 };
    return undefined;
  }, 200);
  return job;
}

/** @param {string} name @param {number} width @param {number} height @param {any} job */
function finishPredict(name, width, height, job) {
  if (name.startsWith("bad")) {
    job.state = "failed";
    job.error = `${name} is cut off: 1024 of 4096 bytes; copy it again from where it came from`;
    return;
  }
  const volume = /\.(nii|nii\.gz|zip|dcm)$/i.test(name);
  job.mask = volume ? null : labels(width, height, number);
  job.size = [width, height];
  const counts = volume ? [0, 4200, 900] : count(job.mask);
  const total = volume ? 64 ** 3 : width * height;
  job.result = {
    kind: volume ? "volume" : "image", width: volume ? 64 : width, height: volume ? 64 : height, slices: volume ? 64 : 1,
    spacing: volume ? [1.2, 1.2, 1.5] : null, confidence: null, warnings: name.includes("warn") ? ["the picture is much smaller than those of the training (64 px); check the mask"] : [],
    classes: CLASSES.map((item) => ({ ...item, pixels: counts[item.id], share: counts[item.id] / total, area_mm2: null, volume_ml: volume ? counts[item.id] * 0.00216 : null })),
    outputs: volume ? ["mask.nii.gz", "image.nii.gz", "measures.json", ...(/zip|dcm/.test(name) ? ["seg.dcm"] : [])] : ["mask.png", "overlay.png", "image.png", "measures.json"],
  };
}

/** @param {Buffer} body of a form @returns {{name: string, width: number, height: number}} */
function readForm(body) {
  const name = /filename="([^"]*)"/.exec(body.toString("latin1"))?.[1] ?? "image.png";
  const start = body.indexOf(Buffer.from([137, 80, 78, 71]));
  return start < 0 ? { name, width: 640, height: 480 } : { name, width: body.readUInt32BE(start + 16), height: body.readUInt32BE(start + 20) };
}

/** @param {Asked} asked @param {Answer} answer @returns {boolean} whether it was ours */
export function segment({ method, path, body }, answer) {
  const key = `${method} ${path.slice("/api/v1/".length)}`;
  if (key === "GET info") answer.json({ version: "0", models: MODELS.map((model) => model.name), teaching: true, limits: { upload_bytes: 1e9, pixels: 1e8 } });
  else if (key === "GET models") answer.json(MODELS);
  else if (key === "POST predict") {
    const { name, width, height } = readForm(body);
    const job = startJob("predict", name.startsWith("slow") ? 200 : 3, (each) => finishPredict(name, width, height, each));
    answer.json({ id: job.id }, 202);
  } else return serveJob(key, answer);
  return true;
}

/** @param {string} key @param {Answer} answer */
function serveJob(key, answer) {
  const [, method, id, , name] = /^(GET|DELETE) jobs\/(job\d+)(\/outputs\/([\w.]+)|\/events)?$/.exec(key) ?? [];
  if (!method) return false;
  const job = jobs.get(id);
  if (!job) answer.error(404, `no job ${id}: results are kept for 15 minutes; run it again`);
  else if (method === "DELETE") {
    job.state = "cancelled";
    answer.json(null);
  } else if (key.endsWith("/events")) sendEvents(job, answer);
  else if (name) sendOutput(job, name, answer);
  else answer.json(visible(job));
  return true;
}

/** @param {any} job */
const visible = ({ id, kind, state, progress, message, result, error }) => ({ id, kind, state, progress, message, result, error });

/** @param {any} job @param {Answer} answer */
function sendEvents(job, answer) {
  const stream = answer.events();
  const timer = setInterval(() => {
    stream.send(visible(job));
    if (["done", "failed", "cancelled"].includes(job.state)) stream.end();
  }, 100);
  stream.onClose(() => clearInterval(timer));
}

/** @param {any} job @param {string} name @param {Answer} answer */
function sendOutput(job, name, answer) {
  const [width, height] = job.size;
  if (name === "mask.png") answer.bytes(png(job.mask, width, height), "image/png");
  else if (name === "image.png") answer.bytes(png(picture(width, height, 1), width, height, 3), "image/png");
  else if (name === "mask.nii.gz") answer.bytes(nifti(64, "mask"), "application/gzip");
  else if (name === "image.nii.gz") answer.bytes(nifti(64, "image"), "application/gzip");
  else if (name === "seg.dcm") answer.bytes(new Uint8Array(200), "application/dicom");
  else answer.error(404, `no output ${name}`);
}
