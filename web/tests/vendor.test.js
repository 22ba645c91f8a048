import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { PAGE } from "./page.js";

test("the viewer of volumes is the published file, byte by byte, and its licence lies beside it", async () => {
  const ours = await readFile(new URL("vendor/niivue.js", PAGE));
  const published = await readFile(new URL("../node_modules/@niivue/niivue/dist/niivue.umd.js", import.meta.url));
  assert.ok(ours.equals(published));
  assert.match(await readFile(new URL("vendor/LICENSE-niivue.txt", PAGE), "utf8"), /BSD 2-Clause[\s\S]*Niivue/);
});
