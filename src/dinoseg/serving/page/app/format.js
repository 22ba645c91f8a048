// Numbers and names as people read them.

/** @param {number} seconds @returns {string} */
export function about(seconds) {
  if (seconds < 1.5) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {number} value 0 to 1 @returns {string} .82, as in tables of Dice */
export function score(value) {
  return value >= 0.995 ? "1.00" : value.toFixed(2).replace(/^0/, "");
}

/** @param {number} share 0 to 1 */
export function percent(share) {
  if (share === 0) return "0 %";
  if (share < 0.001) return "< 0.1 %";
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

/** @param {number} mm2 */
export function area(mm2) {
  return mm2 >= 1000 ? `${(mm2 / 100).toFixed(1)} cm²` : `${mm2.toFixed(mm2 < 10 ? 2 : 1)} mm²`;
}

/** @param {number} ml */
export function volume(ml) {
  return ml < 0.1 ? `${(ml * 1000).toFixed(1)} mm³` : `${ml.toFixed(ml < 10 ? 2 : 1)} ml`;
}

/** @param {number} number @param {string} one @param {string} many */
export function plural(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** @param {string} name of a file @returns {string} without its endings */
export function stem(name) {
  const last = name.split("/").pop() ?? name;
  return last.replace(/\.nii\.gz$/i, "").replace(/\.[a-z0-9]+$/i, "") || last;
}

/** @param {number} bytes */
export function bytes(bytes) {
  if (bytes < 1024 ** 2) return `${Math.max(1, Math.round(bytes / 1024))} KB`;
  return bytes < 1024 ** 3 ? `${Math.round(bytes / 1024 ** 2)} MB` : `${(bytes / 1024 ** 3).toFixed(1)} GB`;
}
