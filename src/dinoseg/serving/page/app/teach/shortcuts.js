// The keys of the page that teaches.

/** @typedef {import("../keys.js").Shortcut} Shortcut */
/**
 * @typedef {object} Page
 * @property {import("./desk.js").Desk} desk
 * @property {import("../toolbar.js").Toolbar} toolbar
 * @property {() => void} next
 * @property {(step: number) => void} move
 * @property {() => void} accept
 * @property {(id: number) => void} paint
 * @property {() => void} togglePrediction
 */

/** @param {Page} page @returns {Shortcut[]} */
export function shortcuts({ desk, toolbar, next, move, accept, paint, togglePrediction }) {
  const tool = (/** @type {import("../toolbar.js").Choice} */ name) => () => toolbar.choose(name);
  const { board } = desk;
  const nth = (/** @type {number} */ number) => desk.project.classes[number - 1];
  const [images, tools, look, touch] = ["Images", "Paint", "View", "Mouse, pen and fingers"];
  return [
    { group: images, keys: "n", label: "Next image (most to learn from)", run: next },
    { group: images, keys: "a", label: "Accept", run: accept },
    { group: images, keys: "j", label: "Next in the list", run: () => move(1) },
    { group: images, keys: "k", label: "The one before", run: () => move(-1) },
    { group: images, keys: "PageUp or w", label: "Next slice", run: () => desk.showSlice(desk.state.slice + 1) },
    { group: images, keys: "PageDown or s", label: "Slice before", run: () => desk.showSlice(desk.state.slice - 1) },
    { group: tools, keys: "b", label: "Brush", run: tool("brush") },
    { group: tools, keys: "e", label: "Eraser", run: tool("eraser") },
    { group: tools, keys: "p", label: "Polygon", run: tool("polygon") },
    { group: tools, keys: "f", label: "Fill", run: tool("fill") },
    { group: tools, keys: "v or h", label: "Move", run: tool("hand") },
    { group: tools, keys: "[ or ,", label: "Smaller brush", run: () => toolbar.resize(-3) },
    { group: tools, keys: "] or .", label: "Larger brush", run: () => toolbar.resize(3) },
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((number) => ({ group: number === 1 ? tools : "", keys: String(number), label: "First class (2 to 9: the others)", run: () => { const item = nth(number); if (item) paint(item.id); } })),
    { group: tools, keys: "0", label: "Background", run: () => paint(0) },
    { group: tools, keys: "Enter", label: "Close the polygon", run: () => board.painting.polygon?.close() },
    { group: tools, keys: "Escape", label: "Give the polygon up", run: () => board.painting.polygon?.cancel() },
    { group: tools, keys: "Ctrl+z", label: "Undo", run: () => desk.step("undo") },
    { group: tools, keys: "Ctrl+Shift+z or Ctrl+y", label: "Redo", run: () => desk.step("redo") },
    { group: tools, keys: "Arrows, Space", label: "Move the cursor, paint", run: null },
    { group: look, keys: "m", label: "Hide or show the prediction", run: togglePrediction },
    { group: look, keys: "+ or =", label: "Larger", run: () => board.viewer.zoomBy(1.4) },
    { group: look, keys: "-", label: "Smaller", run: () => board.viewer.zoomBy(1 / 1.4) },
    { group: look, keys: "z or Home", label: "Whole image", run: () => board.viewer.fit() },
    { group: touch, keys: "Wheel", label: "Zoom; in volumes: slices", run: null },
    { group: touch, keys: "Ctrl+wheel", label: "Zoom in volumes", run: null },
    { group: touch, keys: "Shift+drag", label: "Move the image", run: null },
    { group: touch, keys: "Right button", label: "Level and window", run: null },
    { group: touch, keys: "Two fingers", label: "Move and zoom", run: null },
    { group: touch, keys: "Pen", label: "Paints; fingers then only move", run: null },
  ];
}
