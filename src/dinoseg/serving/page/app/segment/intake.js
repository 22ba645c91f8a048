// The ways in: two file dialogs, dropping anywhere on the page, pasting.

import { notify } from "../chrome.js";
import { byId, el, show } from "../dom.js";
import { say } from "../errors.js";
import { fromDrop, fromList, sortFiles } from "./files.js";

/** @typedef {(parcels: import("./files.js").Parcel[], left: string[]) => void} Take */

/** @param {Take} take */
export function chooseFiles(take) {
  const [files, folder] = [byId("files", HTMLInputElement), byId("folder", HTMLInputElement)];
  for (const input of [files, folder]) {
    input.addEventListener("change", () => {
      const { parcels, left } = sortFiles(fromList(input.files ?? new DataTransfer().files));
      if (parcels.length === 0 && left.length === 0) notify("There is no file in this folder.");
      else take(parcels, left);
      input.value = "";
    });
  }
  el("choose-files").addEventListener("click", () => files.click());
  el("add-files").addEventListener("click", () => files.click());
  el("choose-folder").addEventListener("click", () => folder.click());
  document.addEventListener("paste", (event) => {
    const pasted = event.clipboardData?.files;
    if (pasted?.length) take(sortFiles(fromList(pasted)).parcels, []);
  });
}

/** @param {Take} take */
export function acceptDrops(take) {
  const veil = el("drop-veil");
  let depth = 0; // dragenter and dragleave come for every element on the way
  const over = (/** @type {number} */ change) => {
    depth = Math.max(0, depth + change);
    show(veil, depth > 0);
  };
  document.addEventListener("dragenter", (event) => { if (event.dataTransfer?.types.includes("Files")) over(1); });
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    if (!event.dataTransfer) return;
    fromDrop(event.dataTransfer).then((found) => {
      const { parcels, left } = sortFiles(found);
      take(parcels, left);
    }, (error) => notify(`The files could not be read: ${say(error)}`, "error"));
  });
}
