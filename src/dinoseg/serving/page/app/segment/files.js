// What was dropped, sorted into things that one prediction takes: an image, a volume, a zip, a series of DICOM.

import { plural, stem } from "../format.js";

/** @typedef {{path: string, file: File}} Found path with the folders in which it lay */
/** @typedef {"image" | "volume" | "series" | "archive"} Kind */
/** @typedef {{name: string, kind: Kind, files: File[]}} Parcel */

const IMAGE = /\.(png|jpe?g|tiff?|bmp)$/i;
const VOLUME = /\.(nii|nii\.gz|nrrd|nhdr|mha|mhd|h5|hdf5)$/i;
const HEADER = /\.(nhdr|mhd)$/i; // whose voxels lie in a file beside it
const VOXELS = /\.(raw|zraw|raw\.gz|img)$/i;
const DICOM = /\.(dcm|dicom|ima)$/i;
const HIDDEN = /(^|\/)(\.|__MACOSX\/|Thumbs\.db$|DICOMDIR$)/;

/** @param {string} path @returns {Kind | null} null for what dinoseg does not read */
export function kindOf(path) {
  if (IMAGE.test(path)) return "image";
  if (VOLUME.test(path)) return "volume";
  if (/\.zip$/i.test(path)) return "archive";
  const name = path.split("/").pop() ?? "";
  return DICOM.test(name) || !name.includes(".") || /^[\d.]+$/.test(name) ? "series" : null; // scanners name files by numbers
}

/**
 * @param {Found[]} found
 * @returns {{parcels: Parcel[], left: string[]}} in the order of their names; and what was left out
 */
export function sortFiles(found) {
  const [parcels, left] = [/** @type {Parcel[]} */ ([]), /** @type {string[]} */ ([])];
  /** @type {Map<string, Found[]>} */
  const folders = new Map();
  for (const item of [...found].sort((one, other) => one.path.localeCompare(other.path, "en", { numeric: true }))) {
    if (HIDDEN.test(item.path)) continue;
    const kind = kindOf(item.path);
    const header = VOXELS.test(item.path) ? findHeader(item.path, found) : null;
    if (header) continue; // travels with its header
    if (kind === null) left.push(item.path);
    else if (kind !== "series") parcels.push({ name: item.path.split("/").pop() ?? item.path, kind, files: [item.file, ...findVoxels(item.path, found)] });
    else {
      const folder = item.path.split("/").slice(0, -1).join("/");
      folders.set(folder, [...(folders.get(folder) ?? []), item]);
    }
  }
  for (const [folder, items] of folders) parcels.push(toSeries(folder, items));
  return { parcels, left };
}

/** @param {string} path @param {Found[]} found */
function findHeader(path, found) {
  const start = path.replace(VOXELS, "");
  return found.find((item) => HEADER.test(item.path) && item.path.replace(HEADER, "") === start) ?? null;
}

/** @param {string} path @param {Found[]} found @returns {File[]} */
function findVoxels(path, found) {
  if (!HEADER.test(path)) return [];
  return found.filter((item) => VOXELS.test(item.path) && item.path.replace(VOXELS, "") === path.replace(HEADER, "")).map((item) => item.file);
}

/** @param {string} folder @param {Found[]} items @returns {Parcel} */
function toSeries(folder, items) {
  const name = folder.split("/").pop() || stem(items[0].path);
  return { name: items.length > 1 ? `${name} (${plural(items.length, "file")})` : items[0].path.split("/").pop() ?? name, kind: "series", files: items.map((item) => item.file) };
}

/** @param {FileList | File[]} files of a file dialog @returns {Found[]} */
export function fromList(files) {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** @param {DataTransfer} data of a drop @returns {Promise<Found[]>} with what lies in dropped folders */
export async function fromDrop(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (entries.length === 0) return fromList(data.files);
  return (await Promise.all(entries.map((entry) => walk(entry)))).flat();
}

/** @param {FileSystemEntry} entry @returns {Promise<Found[]>} */
async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
    return [{ path: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  for (;;) { // a reader gives at most 100 entries a time
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const child of some) found.push(...await walk(child));
  }
}
