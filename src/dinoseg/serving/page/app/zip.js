// Several files in one, stored as they are: masks are compressed already.

import { crc32 } from "./png.js";

/** @typedef {{name: string, bytes: Uint8Array}} Entry */

const UTF8 = 0x0800;

/** @param {Entry[]} entries names are made distinct @returns {Blob} */
export function toZip(entries) {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const parts = [];
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const index = [];
  let offset = 0;
  for (const { name, bytes } of distinct(entries)) {
    const title = new TextEncoder().encode(name);
    const fields = [20, UTF8, 0, 0, 0x21]; // version, flags, stored, midnight of 1980-01-01
    const sizes = [crc32(bytes), bytes.length, bytes.length];
    const head = record([[4, 0x04034b50], ...fields.map(two), ...sizes.map(four), [2, title.length], [2, 0]]);
    index.push(record([[4, 0x02014b50], [2, 20], ...fields.map(two), ...sizes.map(four), [2, title.length], [2, 0], [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), title);
    parts.push(head, title, /** @type {Uint8Array<ArrayBuffer>} */ (bytes));
    offset += head.length + title.length + bytes.length;
  }
  const length = index.reduce((sum, part) => sum + part.length, 0);
  const end = record([[4, 0x06054b50], [2, 0], [2, 0], [2, entries.length], [2, entries.length], [4, length], [4, offset], [2, 0]]);
  return new Blob([...parts, ...index, end], { type: "application/zip" });
}

/** @param {number} value @returns {[number, number]} */
const two = (value) => [2, value];
/** @param {number} value @returns {[number, number]} */
const four = (value) => [4, value];

/** @param {[number, number][]} fields bytes and value, little endian */
function record(fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}

/** @param {Entry[]} entries */
function distinct(entries) {
  /** @type {Map<string, number>} */
  const seen = new Map();
  return entries.map((entry) => {
    const times = (seen.get(entry.name) ?? 0) + 1;
    seen.set(entry.name, times);
    return times === 1 ? entry : { ...entry, name: entry.name.replace(/(\.[a-z.]+)?$/i, `_${times}$1`) };
  });
}
