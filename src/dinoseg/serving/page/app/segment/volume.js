// One volume with its mask on the stage: three planes and a picture in space, by NiiVue. The mask is NiiVue's
// drawing, so that it can be corrected in any plane and is written back on the grid of the file.

import { request } from "../api.js";
import { rgb } from "../colours.js";
import { ApiError } from "../errors.js";
import { outputAddress } from "./queue.js";

/** @typedef {import("./queue.js").Item} Item */
/** @typedef {import("@niivue/niivue").Niivue} Niivue */
/** @typedef {{Niivue: typeof import("@niivue/niivue").Niivue, NVImage: typeof import("@niivue/niivue").NVImage}} Library */

export const VIEWS = /** @type {const} */ ([[3, "All"], [0, "Axial"], [1, "Coronal"], [2, "Sagittal"], [4, "3D"]]);

const FAILS = "volumes need WebGL2, which this browser does not offer; download the mask, or open the page in another browser";
const SETTINGS = /** @type {const} */ ({
  dragAndDropEnabled: false, viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", loadingText: "",
  multiplanarShowRender: 1, multiplanarPadPixels: 6, backColor: [0.04, 0.05, 0.06, 1], crosshairColor: [0.31, 0.76, 0.78, 0.8],
  crosshairWidth: 0.25, crosshairWidthUnit: "percent", show3Dcrosshair: true, isOrientCube: false, logLevel: "error",
  fontColor: [0.75, 0.79, 0.83, 1], scrollRequiresFocus: false, isAlphaClipDark: true,
});

/** Only whoever opens a volume loads the 2 MB of it. @returns {Promise<Library>} */
async function loadLibrary() {
  await import(new URL("../../vendor/niivue.js", import.meta.url).href);
  return /** @type {any} */ (globalThis).niivue;
}

export class VolumeScene {
  /** @param {HTMLCanvasElement} canvas @param {{onChange: () => void, onPlace: (text: string) => void, onDraw: () => void}} actions */
  constructor(canvas, actions) {
    this.canvas = canvas;
    this.actions = actions;
    /** @type {Niivue | null} */
    this.nv = null;
    /** @type {Item | null} */
    this.item = null;
    /** @type {Set<number>} */
    this.hidden = new Set();
    /** @type {[number, number]} lowest and highest value that the sliders offer */
    this.range = [0, 1];
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** @returns {Promise<{nv: Niivue, library: Library}>} */
  async start() {
    const library = await loadLibrary();
    if (this.nv) return { nv: this.nv, library };
    if (!document.createElement("canvas").getContext("webgl2")) throw new ApiError(FAILS);
    const nv = new library.Niivue(/** @type {any} */ (SETTINGS));
    await nv.attachToCanvas(this.canvas);
    nv.onLocationChange = (where) => this.actions.onPlace(describePlace(where));
    nv.onDrawingChanged = (action) => action === "draw" && this.actions.onDraw();
    nv.onIntensityChange = () => this.actions.onChange();
    this.nv = nv;
    return { nv, library };
  }

  /** @param {Item} item done, with an image and a mask among its outputs */
  async open(item) {
    if (this.item === item) return;
    this.item = item;
    const { nv, library } = await this.start();
    const files = await Promise.all([this.fetchFile(item, "image.nii.gz"), item.drawing ?? this.fetchFile(item, "mask.nii.gz")]);
    if (this.item !== item) return;
    nv.closeDrawing();
    const [image, mask] = await Promise.all(files.map((file, index) => library.NVImage.loadFromFile({ file: new File([file], `${index}.nii.gz`) })));
    for (const old of [...nv.volumes]) nv.removeVolume(old);
    nv.addVolume(image);
    if (!nv.loadDrawing(mask)) throw new ApiError("the mask is not on the grid of its volume; please report this");
    nv.setDrawingEnabled(false);
    this.range = [image.global_min ?? 0, image.global_max ?? 1];
    this.colour();
    nv.setSliceType(nv.opts.sliceType);
    this.actions.onChange();
  }

  /** @param {Item} item @param {string} name */
  async fetchFile(item, name) {
    return (await request(outputAddress(item, name).replace("api/v1/", ""))).blob();
  }

  close() {
    this.item = null;
  }

  colour() {
    const classes = this.item?.result?.classes ?? [];
    const size = Math.max(1, ...classes.map((item) => item.id)) + 1;
    const table = { R: new Array(size).fill(0), G: new Array(size).fill(0), B: new Array(size).fill(0), A: new Array(size).fill(0), I: [...new Array(size).keys()], labels: new Array(size).fill("") };
    for (const item of classes) {
      [table.R[item.id], table.G[item.id], table.B[item.id]] = rgb(item.colour);
      table.A[item.id] = this.hidden.has(item.id) ? 0 : 255;
      table.labels[item.id] = item.name;
    }
    this.nv?.setDrawColormap(/** @type {any} */ (table));
  }

  /** @param {Set<number>} hidden */
  setHidden(hidden) {
    this.hidden = hidden;
    this.colour();
  }

  /** @param {number} opacity */
  setOpacity(opacity) {
    this.nv?.setDrawOpacity(opacity);
  }

  /** @param {number} view one of VIEWS */
  setView(view) {
    this.nv?.setSliceType(view);
  }

  /** @returns {[number, number]} values that are black and white */
  get window() {
    const image = this.nv?.volumes[0];
    return [image?.cal_min ?? 0, image?.cal_max ?? 1];
  }

  /** @param {number} low @param {number} high in the units of the file */
  setWindow(low, high) {
    const image = this.nv?.volumes[0];
    if (!image || !this.nv) return;
    image.cal_min = low;
    image.cal_max = Math.max(low + 1e-6, high);
    this.nv.updateGLVolume();
  }

  resetWindow() {
    const image = this.nv?.volumes[0];
    if (image) this.setWindow(image.robust_min ?? 0, image.robust_max ?? 1);
  }

  /** @param {string} tool @param {number} value of the class @param {number} radius in voxels */
  setTool(tool, value, radius) {
    if (!this.nv) return;
    const draws = tool === "brush" || tool === "eraser" || tool === "polygon";
    this.nv.setDrawingEnabled(draws);
    this.nv.opts.penSize = Math.max(1, Math.round(radius * 2));
    if (draws) this.nv.setPenValue(tool === "eraser" ? 0 : value, tool === "polygon");
  }

  undo() {
    this.nv?.drawUndo();
  }

  /** @returns {Uint8Array | null} the labels, in the order of the screen */
  get labels() {
    return this.nv?.drawBitmap ?? null;
  }

  /** @returns {Promise<Blob>} the mask as .nii.gz, on the grid of the file */
  async save() {
    const bytes = await this.nv?.saveImage({ filename: "", isSaveDrawing: true, volumeByIndex: 0 });
    if (!(bytes instanceof Uint8Array)) throw new ApiError("there is no mask to save yet");
    const stream = new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (bytes)]).stream().pipeThrough(new CompressionStream("gzip"));
    return new Response(stream).blob();
  }

  /** @returns {Promise<Blob>} what is on the screen */
  snapshot() {
    return new Promise((resolve, reject) => {
      this.nv?.drawScene();
      this.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new ApiError("this browser could not make a picture; try a screenshot"))), "image/png");
    });
  }

  /** @param {number} factor */
  zoomBy(factor) {
    if (!this.nv) return;
    const [x, y, z, scale] = this.nv.scene.pan2Dxyzmm;
    this.nv.setPan2Dxyzmm([x, y, z, Math.max(0.5, Math.min(16, scale * factor))]);
  }

  fit() {
    this.nv?.setPan2Dxyzmm([0, 0, 0, 1]);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const moves = /** @type {Record<string, [number, number, number]>} */ ({
      ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1],
    });
    const move = moves[event.key];
    if (!move || !this.nv || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.nv.moveCrosshairInVox(...move);
  }
}

/** @param {any} where */
function describePlace(where) {
  const values = (where.values ?? []).map((/** @type {any} */ item) => Number(item.value?.toPrecision?.(5) ?? item.value));
  return `${[...where.vox].map(Math.round).join(", ")} · ${values[0] ?? ""}`;
}
