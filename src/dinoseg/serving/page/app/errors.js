// What went wrong, in one line that a person can act on.

export class ApiError extends Error {
  /**
   * @param {string} message what happened, and what helps
   * @param {{status?: number, retryAfter?: number}} more status of HTTP (0 = no answer); seconds to wait
   */
  constructor(message, { status = 0, retryAfter = 0 } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** @param {unknown} error @returns {string} */
export function say(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {unknown} error whether somebody stopped it on purpose */
export function isAbort(error) {
  return error instanceof Error && error.name === "AbortError";
}
