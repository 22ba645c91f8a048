import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";

import { crc32, decodePng, encodePng } from "../../src/dinoseg/serving/page/app/png.js";

/** @param {string} name @param {Uint8Array} data */
function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name), data]);
  const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  crc.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, crc]);
}

/** @param {{width: number, height: number, depth: number, kind: number, rows: number[][]}} image rows with filter bytes */
function makePng({ width, height, depth, kind, rows }) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([depth, kind, 0, 0, 0], 8);
  const raw = deflateSync(Buffer.from(rows.flat()));
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  const halves = [raw.subarray(0, 5), raw.subarray(5)].map((part) => chunk("IDAT", part));
  return new Uint8Array(Buffer.concat([signature, chunk("IHDR", header), ...halves, chunk("IEND", Buffer.alloc(0))]));
}

test("the check sum is that of PNG", () => {
  assert.equal(crc32(new TextEncoder().encode("IEND")), 0xae426082);
});

test("labels come back as they were written", async () => {
  const data = Uint8Array.from({ length: 37 * 23 }, (_, index) => (index * 7919) % 256);
  const blob = await encodePng({ data, width: 37, height: 23 });
  const labels = await decodePng(new Uint8Array(await blob.arrayBuffer()));
  assert.deepEqual(labels, { data, width: 37, height: 23 });
});

test("all five filters of rows are undone", async () => {
  const rows = [[0, 1, 2, 3], [1, 1, 1, 1], [2, 1, 1, 1], [3, 1, 1, 1], [4, 1, 1, 1]];
  const { data } = await decodePng(makePng({ width: 3, height: 5, depth: 8, kind: 0, rows }));
  assert.deepEqual([...data], [1, 2, 3, 1, 2, 3, 2, 3, 4, 2, 3, 4, 3, 4, 5]);
});

test("an indexed one gives its indices, also with fewer bits", async () => {
  const { data } = await decodePng(makePng({ width: 5, height: 2, depth: 2, kind: 3, rows: [[0, 0b00011011, 0b11000000], [0, 0b11100100, 0]] }));
  assert.deepEqual([...data], [0, 1, 2, 3, 3, 3, 2, 1, 0, 0]);
});

test("a colour picture, a cut file and no PNG are refused with a sentence", async () => {
  const rgb = makePng({ width: 1, height: 1, depth: 8, kind: 2, rows: [[0, 1, 2, 3]] });
  await assert.rejects(decodePng(rgb), /one channel/);
  const short = makePng({ width: 9, height: 9, depth: 8, kind: 0, rows: [[0, 1, 2]] });
  await assert.rejects(decodePng(short), /cut off/);
  await assert.rejects(decodePng(new Uint8Array(8)), /no PNG/);
});
