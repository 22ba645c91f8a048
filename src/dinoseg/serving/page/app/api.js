// The server, by its paths. Every failure becomes an ApiError with the server's own sentence.

import { ApiError } from "./errors.js";

const ROOT = "api/v1/";
const AWAY = "no answer from dinoseg: is the terminal window with the server still open?";

/**
 * @param {string} path below api/v1/
 * @param {RequestInit} init
 * @returns {Promise<Response>}
 */
export async function request(path, init = {}) {
  const response = await fetch(ROOT + path, { credentials: "same-origin", ...init }).catch((error) => {
    throw error instanceof Error && error.name === "AbortError" ? error : new ApiError(AWAY);
  });
  if (!response.ok) throw await readError(response);
  return response;
}

/** @param {Response} response */
async function readError(response) {
  const body = await response.json().catch(() => null);
  return toError(response.status, body, Number(response.headers.get("Retry-After") ?? 0));
}

/** @param {number} status @param {any} body @param {number} retryAfter seconds */
export function toError(status, body, retryAfter = 0) {
  const detail = body?.detail;
  // FastAPI's own validation answers with a list of what it did not like
  const message = Array.isArray(detail) ? detail.map((item) => item.msg).join("; ") : detail;
  if (status === 401 || status === 403) {
    return new ApiError(message || "the server wants its token: open the address that it printed when it started", { status });
  }
  return new ApiError(message || `the server answered ${status}`, { status, retryAfter });
}

/** @param {string} path @param {RequestInit} init @returns {Promise<any>} */
export async function getJson(path, init = {}) {
  return (await request(path, init)).json();
}

/** @param {string} path @param {RequestInit} init */
export async function getBytes(path, init = {}) {
  return new Uint8Array(await (await request(path, init)).arrayBuffer());
}

/**
 * @param {"POST" | "PUT" | "DELETE"} method @param {string} path @param {unknown} body
 * @returns {Promise<any>} null where the answer is empty
 */
export async function send(method, path, body = undefined) {
  const json = body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const text = await (await request(path, { method, ...json })).text();
  return text ? JSON.parse(text) : null;
}

/**
 * Sends files and says how far they are; fetch cannot.
 * @param {string} path @param {FormData} form
 * @param {{onProgress?: (share: number) => void, signal?: AbortSignal}} options
 * @returns {Promise<any>}
 */
export function upload(path, form, { onProgress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", ROOT + path);
    xhr.responseType = "json";
    xhr.upload.onprogress = (event) => event.lengthComputable && onProgress?.(event.loaded / event.total);
    xhr.onerror = () => reject(new ApiError(AWAY));
    xhr.onabort = () => reject(new DOMException("stopped", "AbortError"));
    xhr.onload = () => {
      if (xhr.status < 300) resolve(xhr.response);
      else reject(toError(xhr.status, xhr.response, Number(xhr.getResponseHeader("Retry-After") ?? 0)));
    };
    if (signal?.aborted) return xhr.onabort(new ProgressEvent("abort"));
    signal?.addEventListener("abort", () => xhr.abort(), { once: true });
    xhr.send(form);
    return undefined;
  });
}

/**
 * Server-sent events, each a JSON value. The browser reconnects by itself.
 * @param {string} path @param {(data: any) => void} onData @param {(open: boolean) => void} onState
 * @returns {() => void} closes it
 */
export function listen(path, onData, onState = () => {}) {
  const source = new EventSource(ROOT + path);
  source.onmessage = (event) => onData(JSON.parse(event.data));
  source.onopen = () => onState(true);
  source.onerror = () => onState(false);
  return () => source.close();
}

/** @param {string} path @returns {string} for links and pictures */
export function address(path) {
  return ROOT + path;
}
