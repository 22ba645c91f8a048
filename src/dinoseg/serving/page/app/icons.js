// The pictures on buttons: outlines on a grid of 24, in the colour of the text.

/** @type {Record<string, string>} */
const PATHS = {
  hand: "M8 13V6a1.5 1.5 0 0 1 3 0v5M11 11V4.5a1.5 1.5 0 0 1 3 0V11M14 11V6a1.5 1.5 0 0 1 3 0v8a6 6 0 0 1-6 6h-.5a6 6 0 0 1-4.6-2.2L3.5 14.6a1.5 1.5 0 0 1 2.3-1.9L8 15",
  brush: "M20 4 10.5 13.5M14 4.5 19.5 10M9 13c-2.5 0-4 1.6-4 4 0 1.5-.8 2.3-2 3 4.5.6 8.5-.5 8.5-4A2.7 2.7 0 0 0 9 13Z",
  eraser: "m7 20 12.3-12.3a1.5 1.5 0 0 0 0-2.1L17 3.3a1.5 1.5 0 0 0-2.1 0L3.7 14.5a1.5 1.5 0 0 0 0 2.1L7 20ZM7 20h13M9 9.2l5.5 5.5",
  polygon: "M12 3.5 20.5 10 17 20H7L3.5 10 12 3.5Z",
  fill: "m5 12 7-7 7 7-6.3 6.3a1 1 0 0 1-1.4 0L5 12Zm0 0h14M9 2l3 3M20.5 16.5c-1 1.4-1.5 2.2-1.5 2.9a1.5 1.5 0 0 0 3 0c0-.7-.5-1.5-1.5-2.9Z",
  undo: "M9 7 4.5 11.5 9 16M5 11.5h9.5a5 5 0 0 1 0 10H12",
  redo: "m15 7 4.5 4.5L15 16M19 11.5H9.5a5 5 0 0 0 0 10H12",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  help: "M9.5 9.5a2.5 2.5 0 1 1 3.6 2.2c-.7.4-1.1.9-1.1 1.8M12 17v.01M12 21.5a9.5 9.5 0 1 0 0-19 9.5 9.5 0 0 0 0 19Z",
  theme: "M12 21a9 9 0 1 0 0-18v18ZM12 3a9 9 0 0 0 0 18",
  close: "m6 6 12 12M18 6 6 18",
  check: "m5 12.5 4.5 4.5L19 7.5",
  upload: "M12 16V4m0 0L7.5 8.5M12 4l4.5 4.5M4 16v3a1.5 1.5 0 0 0 1.5 1.5h13A1.5 1.5 0 0 0 20 19v-3",
  download: "M12 4v12m0 0-4.5-4.5M12 16l4.5-4.5M4 17v2a1.5 1.5 0 0 0 1.5 1.5h13A1.5 1.5 0 0 0 20 19v-2",
  folder: "M3.5 18V6A1.5 1.5 0 0 1 5 4.5h4l2 2.5h8A1.5 1.5 0 0 1 20.5 8.5V18a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 18Z",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12ZM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z",
  eyeOff: "m4 4 16 16M9.9 5.8A9 9 0 0 1 12 5.5c6 0 9.5 6.5 9.5 6.5a16 16 0 0 1-2.8 3.5M6.3 7.3A15.5 15.5 0 0 0 2.5 12S6 18.5 12 18.5c1.6 0 3-.4 4.3-1.1",
  edit: "m4 20 .8-4L15.5 5.3a1.8 1.8 0 0 1 2.5 0l.7.7a1.8 1.8 0 0 1 0 2.5L8 19.2 4 20ZM13.5 7.3l3.2 3.2",
  next: "M5 12h14m0 0-6-6m6 6-6 6",
  retry: "M20 11a8 8 0 0 0-14.5-3.5L4 9.5M4 4.5v5h5M4 13a8 8 0 0 0 14.5 3.5l1.5-2M20 19.5v-5h-5",
  warning: "M12 9v4.5M12 17v.01M10.6 4.3 2.9 17.7A1.6 1.6 0 0 0 4.3 20h15.4a1.6 1.6 0 0 0 1.4-2.3L13.4 4.3a1.6 1.6 0 0 0-2.8 0Z",
  cube: "m12 3 8 4.5v9L12 21l-8-4.5v-9L12 3Zm0 9 8-4.5M12 12v9M12 12 4 7.5",
  image: "M5.5 4.5h13a1.5 1.5 0 0 1 1.5 1.5v12a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 18V6a1.5 1.5 0 0 1 1.5-1.5ZM4 16l4.5-4.5 4 4 2.5-2.5 5 5M15 9v.01",
  contrast: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM12 4v16M12 8h6.5M12 12h8M12 16h6.5",
  list: "M8 6h12M8 12h12M8 18h12M4 6v.01M4 12v.01M4 18v.01",
  train: "M4 20h16M6.5 20v-6M12 20V9M17.5 20V4",
};

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name @returns {SVGSVGElement} decoration only: the button has the words */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Gives every `<span data-icon="name">` of the page its picture. */
export function placeIcons(root = document) {
  for (const place of root.querySelectorAll("[data-icon]")) {
    place.replaceChildren(icon(/** @type {HTMLElement} */ (place).dataset.icon ?? ""));
  }
}
