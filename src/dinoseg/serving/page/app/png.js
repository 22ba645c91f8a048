// Label maps as PNG, read and written without a canvas: a canvas may change values (colour profiles, browsers
// that blur canvases against fingerprinting), and a label has to arrive as it was sent.

import { ApiError } from "./errors.js";

/** @typedef {import("./tools.js").Labels} Labels */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const GREY = 0;
const PALETTE = 3;

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

/** @param {Uint8Array} bytes @returns {number} */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * @param {Uint8Array} bytes a PNG of one channel with up to 8 bits, grey or indexed
 * @returns {Promise<Labels>} the stored values (of an indexed one the indices)
 */
export async function decodePng(bytes) {
  const { header, body } = readChunks(bytes);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, kind, interlace] = [header[8], header[9], header[12]];
  if ((kind !== GREY && kind !== PALETTE) || depth > 8 || interlace !== 0) {
    throw new ApiError(`a label map is a PNG of one channel with 8 bits; this one has type ${kind}, ${depth} bits`);
  }
  const rows = unfilter(await squeeze(body, new DecompressionStream("deflate")), Math.ceil((width * depth) / 8), height);
  return { data: depth === 8 ? rows : unpack(rows, width, height, depth), width, height };
}

/** @param {Uint8Array} bytes */
function readChunks(bytes) {
  if (!SIGNATURE.every((byte, index) => bytes[index] === byte)) throw new ApiError("the server sent no PNG");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** @type {Uint8Array | null} */
  let header = null;
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    if (name === "IHDR") header = data;
    if (name === "IDAT") parts.push(/** @type {Uint8Array<ArrayBuffer>} */ (data));
  }
  if (!header || parts.length === 0) throw new ApiError("the PNG that the server sent is cut off; reload the page");
  return { header, body: new Blob(parts) };
}

/** @param {Blob} blob @param {CompressionStream | DecompressionStream} through */
async function squeeze(blob, through) {
  const stream = blob.stream().pipeThrough(/** @type {any} */ (through));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {Uint8Array} raw rows with a filter byte each @param {number} length bytes of a row @param {number} height */
function unfilter(raw, length, height) {
  if (raw.length < (length + 1) * height) throw new ApiError("the PNG that the server sent is cut off; reload the page");
  const rows = new Uint8Array(length * height);
  for (let y = 0; y < height; y += 1) {
    const start = y * (length + 1);
    const row = rows.subarray(y * length, (y + 1) * length);
    row.set(raw.subarray(start + 1, start + 1 + length));
    const above = y > 0 ? rows.subarray((y - 1) * length, y * length) : new Uint8Array(length);
    unfilterRow(row, above, raw[start]);
  }
  return rows;
}

/** @param {Uint8Array} row is changed @param {Uint8Array} above @param {number} filter 0 to 4 */
function unfilterRow(row, above, filter) {
  if (filter === 0) return;
  for (let x = 0; x < row.length; x += 1) {
    const [left, up, corner] = [x > 0 ? row[x - 1] : 0, above[x], x > 0 ? above[x - 1] : 0];
    if (filter === 1) row[x] += left;
    else if (filter === 2) row[x] += up;
    else if (filter === 3) row[x] += (left + up) >> 1;
    else row[x] += paeth(left, up, corner);
  }
}

/** @param {number} left @param {number} up @param {number} corner */
function paeth(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

/** @param {Uint8Array} rows @param {number} width @param {number} height @param {number} depth 1, 2 or 4 */
function unpack(rows, width, height, depth) {
  const [data, length, each] = [new Uint8Array(width * height), rows.length / height, 8 / depth];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const byte = rows[y * length + Math.floor(x / each)];
      data[y * width + x] = (byte >> (8 - depth * ((x % each) + 1))) & ((1 << depth) - 1);
    }
  }
  return data;
}

/**
 * @param {Labels} labels
 * @returns {Promise<Blob>} a grey PNG with 8 bits whose pixels are the labels
 */
export async function encodePng({ data, width, height }) {
  const raw = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y += 1) {
    raw[y * (width + 1)] = 1; // each pixel less the one before: long runs of zeros
    const row = data.subarray(y * width, (y + 1) * width);
    for (let x = 0; x < width; x += 1) raw[y * (width + 1) + 1 + x] = row[x] - (x > 0 ? row[x - 1] : 0);
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, GREY, 0, 0, 0], 8);
  const body = await squeeze(new Blob([raw]), new CompressionStream("deflate"));
  const parts = [new Uint8Array(SIGNATURE), chunk("IHDR", header), chunk("IDAT", body), chunk("IEND", new Uint8Array())];
  return new Blob(parts, { type: "image/png" });
}

/** @param {string} name @param {Uint8Array} data */
function chunk(name, data) {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(Array.from(name, (letter) => letter.charCodeAt(0)), 4);
  bytes.set(data, 8);
  view.setUint32(data.length + 8, crc32(bytes.subarray(4, data.length + 8)));
  return bytes;
}
