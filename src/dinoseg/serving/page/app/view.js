// Where an image lies on the screen: screen = image * scale + (x, y). Pure arithmetic.

/** @typedef {{scale: number, x: number, y: number}} View */
/** @typedef {{width: number, height: number}} Size in pixels */
/** @typedef {[number, number]} Point x, y */

const MOST = 64; // screen pixels of one image pixel

/**
 * The whole image, in the middle of what is free.
 * @param {Size} image @param {Size} screen @param {{side: number, top: number, bottom: number}} taken margins, in screen pixels
 * @returns {View}
 */
export function fit(image, screen, { side, top, bottom }) {
  const room = { width: Math.max(1, screen.width - 2 * side), height: Math.max(1, screen.height - top - bottom) };
  const scale = Math.min(room.width / image.width, room.height / image.height, MOST);
  return { scale, x: (screen.width - image.width * scale) / 2, y: top + (room.height - image.height * scale) / 2 };
}

/**
 * Nearer or farther; what is under (x, y) on the screen stays there.
 * @param {View} view @param {number} factor @param {Point} at @param {number} least smallest scale
 * @returns {View}
 */
export function zoom(view, factor, at, least = 0.01) {
  const scale = Math.min(MOST, Math.max(least, view.scale * factor));
  const ratio = scale / view.scale;
  return { scale, x: at[0] - (at[0] - view.x) * ratio, y: at[1] - (at[1] - view.y) * ratio };
}

/**
 * Keeps some of the image on the screen, so that nobody loses it.
 * @param {View} view @param {Size} image @param {Size} screen
 * @returns {View}
 */
export function hold(view, image, screen, rest = 48) {
  const [wide, high] = [image.width * view.scale, image.height * view.scale];
  const x = Math.min(screen.width - Math.min(rest, wide), Math.max(Math.min(rest, wide) - wide, view.x));
  const y = Math.min(screen.height - Math.min(rest, high), Math.max(Math.min(rest, high) - high, view.y));
  return { scale: view.scale, x, y };
}

/** @param {View} view @param {Point} at on the screen @returns {Point} on the image, pixel centres at .5 */
export function toImage(view, at) {
  return [(at[0] - view.x) / view.scale, (at[1] - view.y) / view.scale];
}

/** @param {View} view @param {Point} at on the image @returns {Point} on the screen */
export function toScreen(view, at) {
  return [at[0] * view.scale + view.x, at[1] * view.scale + view.y];
}
