import assert from "node:assert/strict";
import { test } from "node:test";

import { kindOf, sortFiles } from "../../src/dinoseg/serving/page/app/segment/files.js";
import { toZip } from "../../src/dinoseg/serving/page/app/zip.js";

/** @param {...string} paths */
const found = (...paths) => paths.map((path) => ({ path, file: /** @type {File} */ (/** @type {unknown} */ ({ name: path })) }));

test("what was dropped becomes images, volumes, archives, and one series per folder", () => {
  const { parcels, left } = sortFiles(found("a/img10.png", "a/img9.JPG", "ct/1.dcm", "ct/2.dcm", "pet/IM0001", "scan.nii.gz", "case.zip", "notes.txt", "a/.DS_Store", "DICOMDIR"));
  assert.deepEqual(parcels.map(({ name, kind, files }) => [name, kind, files.length]), [
    ["img9.JPG", "image", 1], ["img10.png", "image", 1], ["case.zip", "archive", 1], ["scan.nii.gz", "volume", 1], ["ct (2 files)", "series", 2], ["IM0001", "series", 1],
  ]);
  assert.deepEqual(left, ["notes.txt"]);
});

test("scanners name DICOM files by numbers", () => {
  assert.equal(kindOf("series/1.2.840.113619.2.5"), "series");
  assert.equal(kindOf("letter.docx"), null);
});

test("a zip has its files at their place, under distinct names", async () => {
  const bytes = new TextEncoder().encode("123456789");
  const zip = new Uint8Array(await toZip([{ name: "a.png", bytes }, { name: "a.png", bytes: bytes.subarray(0, 3) }]).arrayBuffer());
  const view = new DataView(zip.buffer);
  const end = zip.length - 22;
  assert.equal(view.getUint32(end, true), 0x06054b50);
  assert.equal(view.getUint16(end + 10, true), 2);
  let at = view.getUint32(end + 16, true);
  /** @type {[string, string, number][]} */
  const files = [];
  for (let index = 0; index < 2; index += 1) {
    const [crc, size, title, start] = [view.getUint32(at + 16, true), view.getUint32(at + 20, true), view.getUint16(at + 28, true), view.getUint32(at + 42, true)];
    const name = new TextDecoder().decode(zip.subarray(at + 46, at + 46 + title));
    const from = start + 30 + view.getUint16(start + 26, true);
    files.push([name, new TextDecoder().decode(zip.subarray(from, from + size)), crc]);
    at += 46 + title;
  }
  assert.deepEqual(files.map(([name, text]) => [name, text]), [["a.png", "123456789"], ["a_2.png", "123"]]);
  assert.equal(files[0][2], 0xcbf43926); // the check value of CRC-32
});

test("voxels in a file of their own travel with their header", () => {
  const { parcels, left } = sortFiles(found("a/ct.mhd", "a/ct.zraw", "b/ct.raw"));
  assert.deepEqual(parcels.map(({ name, files }) => [name, files.length]), [["ct.mhd", 2]]);
  assert.deepEqual(left, ["b/ct.raw"]);
});
