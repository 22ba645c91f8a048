// Strokes on their way to the server. They go one after another, in order; one that does not arrive is kept (in the
// browser's storage too, so that a reload loses nothing) and sent again under its own name, which makes a repeat
// harmless. Only what the server has on disk counts as saved.

import { isAbort } from "./errors.js";

/** @typedef {{image: string, stroke: Record<string, unknown> & {client: string}, at?: number}} Letter at: ms, when it was drawn */
/** @typedef {"saved" | "saving" | "waiting"} State waiting = did not arrive, will be sent again */
/**
 * @typedef {object} Post what the outbox needs of the world
 * @property {(letter: Letter) => Promise<any>} send
 * @property {(answer: any, letter: Letter) => void} onSent
 * @property {(error: any, letter: Letter) => void} onRefused the server will never take it
 * @property {(state: State, waiting: number, error: unknown) => void} onState
 * @property {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">} storage
 * @property {string} prefix of the keys in the storage: one per stroke, so that tabs do not overwrite each other's
 */

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;

export class Outbox {
  /** @param {Post} post */
  constructor(post) {
    this.post = post;
    /** @type {Letter[]} */
    this.letters = read(post);
    this.pause = FIRST_PAUSE_MS;
    this.sending = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** @param {Letter} letter */
  add(letter) {
    this.letters.push(letter);
    this.keep(letter);
    this.run();
  }

  /**
   * Takes back the newest stroke of an image that has not left yet.
   * @param {string} image
   * @returns {Letter | null}
   */
  takeBack(image) {
    const index = this.letters.findLastIndex((letter) => letter.image === image);
    if (index < 0 || (index === 0 && this.sending)) return null;
    const [letter] = this.letters.splice(index, 1);
    this.forget(letter);
    this.tell(null);
    return letter;
  }

  /** @param {string} image @returns {Letter[]} what the server does not have of it yet */
  of(image) {
    return this.letters.filter((letter) => letter.image === image);
  }

  /** Sends now what waits. */
  async run() {
    clearTimeout(this.timer);
    if (this.sending) return;
    this.sending = true;
    this.tell(null);
    try {
      while (this.letters.length > 0) await this.sendFirst();
      this.pause = FIRST_PAUSE_MS;
      this.sending = false;
      this.tell(null);
    } catch (error) {
      this.sending = false;
      this.tell(error);
      this.timer = setTimeout(() => this.run(), this.pause);
      this.pause = Math.min(LONGEST_PAUSE_MS, this.pause * 2);
    }
  }

  async sendFirst() {
    const letter = this.letters[0];
    try {
      const answer = await this.post.send(letter);
      this.done();
      this.post.onSent(answer, letter);
    } catch (error) {
      if (isAbort(error) || /** @type {any} */ (error).passing !== false) throw error;
      this.done();
      this.post.onRefused(error, letter);
    }
  }

  done() {
    const letter = this.letters.shift();
    if (letter) this.forget(letter);
  }

  /** @param {Letter} letter */
  keep(letter) {
    try {
      this.post.storage.setItem(this.post.prefix + letter.stroke.client, JSON.stringify({ ...letter, at: Date.now() }));
    } catch {
      // the storage is full or closed: the stroke stays in memory, and the page asks before it is left
    }
  }

  /** @param {Letter} letter */
  forget(letter) {
    this.post.storage.removeItem(this.post.prefix + letter.stroke.client);
  }

  /** @param {unknown} error */
  tell(error) {
    const state = error ? "waiting" : this.letters.length > 0 ? "saving" : "saved";
    this.post.onState(state, this.letters.length, error);
  }
}

/** @param {Post} post @returns {Letter[]} what an earlier page could not send, in the order in which it was drawn */
function read({ storage, prefix }) {
  const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? "").filter((key) => key.startsWith(prefix));
  const letters = keys.flatMap((key) => {
    try {
      return [/** @type {Letter} */ (JSON.parse(storage.getItem(key) ?? ""))];
    } catch {
      return []; // not ours
    }
  });
  return letters.sort((one, other) => (one.at ?? 0) - (other.at ?? 0));
}
