// The project as the server tells it: images, classes, what the model has learnt. Events bring what changed.

/** @typedef {import("../colours.js").LabelClass} LabelClass */
/**
 * @typedef {object} Image
 * @property {string} id
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {number} slices 1 for a flat image
 * @property {"new" | "stroked" | "accepted"} state
 * @property {number} strokes
 * @property {number} accepted slices with a label
 * @property {"no" | "yes"} features
 * @property {number | null} uncertainty
 * @property {number} round of its newest prediction, 0 = none
 * @property {string | null} problem why it cannot be used
 */
/**
 * @typedef {object} Project
 * @property {string} name
 * @property {string} folder
 * @property {LabelClass[]} classes
 * @property {Image[]} images
 * @property {{done: number, total: number, eta_s: number | null}} features
 * @property {number} round
 * @property {{dice: number, low: number, high: number, images: number, advice: string} | null} estimate
 * @property {number | null} seconds of the last round
 * @property {string | null} next image to label
 * @property {number | null} next_slice
 */

/**
 * @param {Project} project @param {Partial<Project>} news images: only those that changed
 * @returns {{project: Project, changed: Image[]}}
 */
export function merge(project, news) {
  const fresh = new Map((news.images ?? []).map((image) => [image.id, image]));
  const images = project.images.map((image) => ({ ...image, ...fresh.get(image.id) }));
  const known = new Set(project.images.map((image) => image.id));
  images.push(...[...fresh.values()].filter((image) => !known.has(image.id)));
  return { project: { ...project, ...news, images }, changed: images.filter((image) => fresh.has(image.id)) };
}

/** @param {Image} image whether all of it has a label; one of a volume's slices is not enough */
export function isDone(image) {
  return image.state === "accepted" && image.accepted >= image.slices;
}

/** @param {Project} project @returns {number} */
export function countStrokes(project) {
  return project.images.reduce((sum, image) => sum + image.strokes, 0);
}

/**
 * @param {Project} project @param {number} waiting strokes on their way
 * @returns {string | null} what somebody who begins should do now; null once the model answers
 */
export function firstSteps(project, waiting) {
  if (project.images.length === 0 || project.images.some((image) => image.round > 0 || image.state === "accepted")) return null;
  const name = project.classes[0]?.name ?? "object";
  if (countStrokes(project) + waiting === 0) return `Paint a little of the ${name}, then choose Background and paint a little of the rest: the model learns from every stroke.`;
  if (project.features.done === 0) return "The images are still getting ready; the model answers as soon as the first ones are.";
  return "The model answers once it has seen both: choose Background (key 0) and paint a little of what is not marked.";
}

/** @param {Image[]} images @param {string} order @returns {Image[]} */
export function arrange(images, order) {
  if (order !== "unsure") return images;
  const doubt = (/** @type {Image} */ image) => (isDone(image) ? -2 : image.uncertainty ?? -1);
  return [...images].sort((one, other) => doubt(other) - doubt(one));
}

/**
 * Whether somebody else has painted on the open image, or taken something back.
 * @param {number} told strokes that the server has @param {number} expected strokes that are shown here
 * @param {number} waiting strokes of ours that have not arrived
 */
export function isForeign(told, expected, waiting) {
  return told > expected || told < expected - waiting;
}

/** @param {Project} project @param {string | null} current @returns {Image | null} the one to go on with */
export function findNext(project, current) {
  const offered = project.images.find((image) => image.id === project.next);
  if (offered && offered.id !== current) return offered;
  const open = project.images.filter((image) => image.state === "new" && !image.problem && image.id !== current);
  return open[0] ?? project.images.find((image) => !isDone(image) && !image.problem && image.id !== current) ?? null;
}
