// The keys of the page that segments.

/** @typedef {import("../keys.js").Shortcut} Shortcut */

/**
 * @param {{stage: import("./stage.js").Stage, move: (step: number) => void, close: () => void}} page
 * @returns {Shortcut[]}
 */
export function shortcuts({ stage, move, close }) {
  const tool = (/** @type {import("../toolbar.js").Choice} */ name) => () => stage.toolbar.choose(name);
  const polygon = () => stage.image.painting.polygon;
  const [images, look, tools, touch] = ["Images", "View", "Correct the mask", "Mouse, pen and fingers"];
  return [
    { group: images, keys: "j", label: "Next image", run: () => move(1) },
    { group: images, keys: "k", label: "Image before", run: () => move(-1) },
    { group: images, keys: "Ctrl+s", label: "Download the mask", run: () => { stage.download(stage.isVolume ? "mask.nii.gz" : "mask.png"); } },
    { group: images, keys: "Delete", label: "Cancel or remove", run: close },
    { group: look, keys: "+ or =", label: "Larger", run: () => stage.zoom(1.4) },
    { group: look, keys: "-", label: "Smaller", run: () => stage.zoom(1 / 1.4) },
    { group: look, keys: "z or Home", label: "Whole image", run: () => stage.fit() },
    { group: look, keys: "m", label: "Hide or show the mask", run: () => stage.toggleMask() },
    { group: look, keys: "Shift+Arrows", label: "Move the image", run: null },
    { group: look, keys: "Arrows, PageUp, PageDown", label: "Move through a volume", run: null },
    { group: tools, keys: "v or h", label: "Move", run: tool("hand") },
    { group: tools, keys: "b", label: "Brush", run: tool("brush") },
    { group: tools, keys: "e", label: "Eraser", run: tool("eraser") },
    { group: tools, keys: "p", label: "Polygon", run: tool("polygon") },
    { group: tools, keys: "f", label: "Fill", run: tool("fill") },
    { group: tools, keys: "[ or ,", label: "Smaller brush", run: () => stage.toolbar.resize(-4) },
    { group: tools, keys: "] or .", label: "Larger brush", run: () => stage.toolbar.resize(4) },
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((number) => ({ group: number === 1 ? tools : "", keys: String(number), label: "Paint the first class (2 to 9: the others)", run: () => stage.paintNth(number) })),
    { group: tools, keys: "Enter", label: "Close the polygon", run: () => polygon()?.close() },
    { group: tools, keys: "Escape", label: "Give the polygon up", run: () => polygon()?.cancel() },
    { group: tools, keys: "Arrows, Space", label: "Move the cursor, paint", run: null },
    { group: tools, keys: "Ctrl+z", label: "Undo", run: () => stage.undo() },
    { group: tools, keys: "Ctrl+Shift+z or Ctrl+y", label: "Redo", run: () => stage.redo() },
    { group: touch, keys: "Wheel", label: "Zoom; in volumes: slices", run: null },
    { group: touch, keys: "Shift+drag", label: "Move the image", run: null },
    { group: touch, keys: "Right button", label: "Level and window", run: null },
    { group: touch, keys: "Two fingers", label: "Move and zoom", run: null },
    { group: touch, keys: "Pen", label: "Paints; fingers then only move", run: null },
  ];
}
