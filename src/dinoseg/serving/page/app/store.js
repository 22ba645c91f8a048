// The state of a page in one place: changed by `set`, read by whoever subscribed.

/**
 * @template {object} S
 * @param {S} initial
 */
export function createStore(initial) {
  let state = Object.freeze({ ...initial });
  /** @type {Set<(state: Readonly<S>, before: Readonly<S>) => void>} */
  const readers = new Set();
  return {
    /** @returns {Readonly<S>} */
    get: () => state,
    /** @param {Partial<S>} changes */
    set(changes) {
      const before = state;
      state = Object.freeze({ ...state, ...changes });
      for (const reader of [...readers]) reader(state, before);
    },
    /** @param {(state: Readonly<S>, before: Readonly<S>) => void} reader @returns {() => void} ends it */
    subscribe(reader) {
      readers.add(reader);
      return () => readers.delete(reader);
    },
  };
}
