// Pictures, masks and volumes that are made up from ellipses.

import { deflateSync, gzipSync } from "node:zlib";

import { crc32 } from "../../src/dinoseg/serving/page/app/png.js";

/** @param {string} name @param {Uint8Array} data */
function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name), data]);
  const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  crc.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, crc]);
}

/** @param {Uint8Array} data @param {number} width @param {number} height @param {1 | 3} channels */
export function png(data, width, height, channels = 1) {
  const rows = Buffer.alloc((width * channels + 1) * height);
  for (let y = 0; y < height; y += 1) rows.set(data.subarray(y * width * channels, (y + 1) * width * channels), y * (width * channels + 1) + 1);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([8, channels === 1 ? 0 : 2, 0, 0, 0], 8);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(rows, { level: 1 })), chunk("IEND", Buffer.alloc(0))]);
}

/** Whether a point is in the blob of a seed. @param {number} x 0 to 1 @param {number} y @param {number} seed */
export function inside(x, y, seed, size = 1) {
  const [cx, cy] = [0.5 + 0.16 * Math.sin(seed * 3.1), 0.5 + 0.14 * Math.cos(seed * 5.3)];
  const angle = Math.atan2(y - cy, x - cx);
  const radius = size * (0.17 + 0.04 * Math.sin(3 * angle + seed) + 0.02 * Math.sin(7 * angle + 2 * seed));
  return Math.hypot(x - cx, y - cy) < radius;
}

/** @param {number} width @param {number} height @param {number} seed */
export function labels(width, height, seed) {
  const data = new Uint8Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (inside(x / width, y / height, seed)) data[y * width + x] = inside(x / width, y / height, seed, 0.45) ? 2 : 1;
    }
  }
  return data;
}

/** @param {number} width @param {number} height @param {number} seed */
export function picture(width, height, seed) {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const [u, v] = [x / width, y / height];
      const light = 0.75 + 0.25 * Math.cos(3 * Math.hypot(u - 0.5, v - 0.5)) + 0.05 * Math.sin(40 * u + 9 * Math.sin(8 * v + seed)) + 0.03 * Math.sin(90 * v + seed);
      const blob = inside(u, v, seed) ? 0.8 : 1;
      const at = (y * width + x) * 3;
      data[at] = Math.min(255, 208 * light * (0.85 + 0.15 * blob));
      data[at + 1] = Math.min(255, 118 * light * blob);
      data[at + 2] = Math.min(255, 104 * light * blob);
    }
  }
  return data;
}

/** @param {number} size of every side @param {"image" | "mask"} what */
export function nifti(size, what) {
  const buffer = Buffer.alloc(352 + size ** 3);
  buffer.writeInt32LE(348, 0);
  [3, size, size, size, 1, 1, 1, 1].forEach((value, index) => buffer.writeInt16LE(value, 40 + 2 * index));
  buffer.writeInt16LE(2, 70);
  buffer.writeInt16LE(8, 72);
  [1, 1.2, 1.2, 1.5, 0, 0, 0, 0].forEach((value, index) => buffer.writeFloatLE(value, 76 + 4 * index));
  buffer.writeFloatLE(352, 108);
  buffer.writeFloatLE(1, 112);
  buffer.writeInt16LE(1, 254);
  [[1.2, 0, 0, -40], [0, 1.2, 0, -40], [0, 0, 1.5, -40]].forEach((row, index) => row.forEach((value, column) => buffer.writeFloatLE(value, 280 + 16 * index + 4 * column)));
  buffer.write("n+1\0", 344, "latin1");
  for (let z = 0; z < size; z += 1) {
    for (let y = 0; y < size; y += 1) {
      for (let x = 0; x < size; x += 1) {
        const [u, v, w] = [x / size - 0.5, y / size - 0.5, z / size - 0.5];
        const [head, organ] = [Math.hypot(u, v * 0.9, w) < 0.44, Math.hypot(u - 0.1, v * 1.5, w) < 0.17];
        const value = what === "mask" ? Number(organ) + Number(Math.hypot(u - 0.1, v * 1.5, w) < 0.08)
          : head ? 90 + 50 * Number(organ) + 25 * Math.sin(20 * u) * Math.cos(18 * v) * Math.cos(15 * w) : 4;
        buffer[352 + (z * size + y) * size + x] = value;
      }
    }
  }
  return gzipSync(buffer, { level: 1 });
}
