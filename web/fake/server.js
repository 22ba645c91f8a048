// A server that answers like dinoseg's, with made-up pictures and masks, so that the page can be worked on alone:
// `npm run fake`, then open the printed address. Not shipped.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";

import { segment } from "./segment.js";
import { teach } from "./teach.js";

const PAGE = new URL("../../src/dinoseg/serving/page/", import.meta.url);
const PORT = Number(process.env.PORT ?? 8123);
const TYPES = /** @type {Record<string, string>} */ ({ html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml" });
const POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; connect-src 'self' blob: data:; script-src 'self' 'wasm-unsafe-eval'";

/** @param {import("node:http").IncomingMessage} request @returns {Promise<Buffer>} */
async function readBody(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url ?? "/", "http://localhost");
  const body = await readBody(request);
  /** @type {import("./answers.js").Answer} */
  const answer = {
    json: (value, status = 200) => void response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value)),
    bytes: (value, type, more = {}) => void response.writeHead(200, { "Content-Type": type, ...more }).end(value),
    error: (status, detail, more = {}) => void response.writeHead(status, { "Content-Type": "application/json", ...more }).end(JSON.stringify({ detail })),
    events: () => {
      response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
      return { send: (value) => void response.write(`data: ${JSON.stringify(value)}\n\n`), end: () => void response.end(), onClose: (run) => void response.on("close", run) };
    },
  };
  const asked = { method: request.method ?? "GET", path: url.pathname, query: url.searchParams, body, type: request.headers["content-type"] ?? "" };
  if (url.pathname.startsWith("/api/v1/")) {
    if (segment(asked, answer) || teach(asked, answer)) return;
    answer.error(404, `no such path: ${url.pathname}`);
    return;
  }
  const name = { "/": "index.html", "/teach": "teach.html" }[url.pathname] ?? url.pathname.replace(/^\/static\//, "");
  const file = await readFile(new URL(name, PAGE)).catch(() => null);
  if (!file) return answer.error(404, "no such file");
  const type = TYPES[name.split(".").pop() ?? ""] ?? "application/octet-stream";
  response.writeHead(200, { "Content-Type": type, "Content-Security-Policy": POLICY, "Cache-Control": "no-cache" }).end(file);
});
server.listen(PORT, "127.0.0.1", () => console.log(`http://127.0.0.1:${PORT}`));
