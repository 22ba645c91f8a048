// Colours of classes, and palettes that turn label maps into pixels.

/** @typedef {{id: number, name: string, colour: string}} LabelClass colour as #rrggbb */

/** Distinct for most kinds of colour vision (after Okabe and Ito), and seen on grey as well as on pink tissue. */
export const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00", "#9b5de5"];

/** @param {string} colour #rrggbb @returns {[number, number, number]} */
export function rgb(colour) {
  const value = Number.parseInt(colour.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** @param {LabelClass[]} classes @returns {string} the first colour that nobody has */
export function freeColour(classes) {
  const taken = new Set(classes.map((item) => item.colour.toLowerCase()));
  return COLOURS.find((colour) => !taken.has(colour)) ?? COLOURS[classes.length % COLOURS.length];
}

/**
 * @param {LabelClass[]} classes @param {Set<number>} hidden ids that are not shown
 * @param {string | null} background colour of label 0, null = not shown
 * @returns {Uint32Array} 256 pixels in the byte order of ImageData; what is not a class is clear
 */
export function palette(classes, hidden = new Set(), background = null) {
  const bytes = new Uint8ClampedArray(256 * 4);
  /** @param {number} id @param {string} colour */
  const put = (id, colour) => bytes.set([...rgb(colour), 255], id * 4);
  if (background && !hidden.has(0)) put(0, background);
  for (const { id, colour } of classes) if (!hidden.has(id)) put(id, colour);
  return new Uint32Array(bytes.buffer);
}
