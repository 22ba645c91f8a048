// Level and window of a picture that is on the screen already.

/**
 * (x - l) * w by the two filters that browsers have, in the order in which neither cuts anything off before the other.
 * @param {number} low @param {number} high values 0 to 255 that become black and white; may lie beyond
 */
export function windowFilter(low, high) {
  if (low === 0 && high === 255) return "";
  const [l, w] = [low / 255, 255 / Math.max(1, high - low)];
  if (l < 0) return `contrast(${1 / (1 - 2 * l)}) brightness(${w * (1 - 2 * l)})`;
  const slope = 1 + 2 * l * w;
  return `brightness(${w / slope}) contrast(${slope})`;
}
