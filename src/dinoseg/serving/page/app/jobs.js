// Long work on the server: watched by events, by asking where events do not get through, and cancelled.

import { getJson, listen, send } from "./api.js";
import { ApiError, isAbort } from "./errors.js";
import { about } from "./format.js";

/**
 * @typedef {object} Job
 * @property {string} id
 * @property {string} kind
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {{done: number, total: number, eta_s: number | null} | null} progress
 * @property {string | null} message
 * @property {any} result
 * @property {string | null} error
 */

const FINAL = ["done", "failed", "cancelled"];
const ASK_EVERY_MS = 1000;

/** @param {Job} job */
export function isFinal(job) {
  return FINAL.includes(job.state);
}

/** @param {Job} job @returns {number | null} 0 to 1, null while nobody knows */
export function share(job) {
  if (job.state === "done") return 1;
  return job.progress && job.progress.total > 0 ? Math.min(1, job.progress.done / job.progress.total) : null;
}

/** @param {Job} job @returns {string} */
export function describe(job) {
  if (job.state === "queued") return "waiting for its turn";
  if (job.state === "failed") return job.error ?? "failed";
  if (job.state !== "running") return job.state;
  const { progress } = job;
  if (!progress || progress.total <= 0) return job.message ?? "working";
  const left = progress.eta_s ? `, ${about(progress.eta_s)} left` : "";
  return `${job.message ?? "working"}, ${progress.done} of ${progress.total}${left}`;
}

/**
 * Follows a job to its end.
 * @param {string} id @param {(job: Job) => void} onChange called with every state, the last one included
 * @param {AbortSignal} signal stops watching (not the job)
 * @returns {Promise<Job>} done; a failed or cancelled one is an error
 */
export async function watch(id, onChange, signal) {
  const job = await follow(id, onChange, signal);
  if (job.state === "failed") throw new ApiError(job.error ?? "the job failed", { status: 422 });
  if (job.state === "cancelled") throw new DOMException("cancelled", "AbortError");
  return job;
}

/** @param {string} id @param {(job: Job) => void} onChange @param {AbortSignal} signal @returns {Promise<Job>} */
function follow(id, onChange, signal) {
  return new Promise((resolve, reject) => {
    let over = false;
    /** @param {Job} job */
    const take = (job) => {
      if (over) return;
      onChange(job);
      if (isFinal(job)) finish(() => resolve(job));
    };
    /** @param {() => void} how */
    const finish = (how) => {
      over = true;
      close();
      clearInterval(timer);
      how();
    };
    let open = false;
    const close = listen(`jobs/${id}/events`, take, (state) => { open = state; });
    const ask = () => getJson(`jobs/${id}`, { signal }).then(take, (error) => {
      if (over || isAbort(error) || error.passing) return;
      finish(() => reject(error));
    });
    const timer = setInterval(() => open || ask(), ASK_EVERY_MS);
    signal.addEventListener("abort", () => over || finish(() => reject(new DOMException("stopped", "AbortError"))));
  });
}

/** @param {string} id stops it and forgets its files; one that is gone is as good as cancelled */
export async function cancel(id) {
  await send("DELETE", `jobs/${id}`).catch((error) => {
    if (error.status !== 404) throw error;
  });
}
