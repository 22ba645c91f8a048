// Elements without markup in strings: what people and files are called never becomes HTML.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} attributes `onclick` and the like are listeners, true is an empty attribute,
 *   false and null leave it out
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) assign(element, name, value);
  append(element, children);
  return element;
}

/** @param {Element} element @param {string} name @param {unknown} value */
function assign(element, name, value) {
  if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
  else if (value === true) element.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
}

/** @param {Element} element @param {(Child | Child[])[]} children */
function append(element, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** @param {Element} element @param {...(Child | Child[])} children instead of what it has */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/**
 * @template {HTMLElement} T
 * @param {string} id @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return element;
}

/** @param {string} id @returns {HTMLElement} */
export function el(id) {
  return byId(id, HTMLElement);
}

/** @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  element.hidden = !shown;
}

/** Letters before the ending that are always seen: numbers tell files apart, and nnU-Net adds _0000 to them. */
const [END, NIFTI_END] = [5, 8];

/** @param {string} name @returns {HTMLElement} cut in the middle where there is no room */
export function fileName(name) {
  const ending = /(\.nii\.gz|\.[a-z0-9]{1,5})?$/i.exec(name)?.[0] ?? "";
  const last = (/^\.nii\.gz$/i.test(ending) ? NIFTI_END : END) + ending.length;
  const at = Math.max(0, name.length - last);
  return h("b", { class: "file-name", title: name }, h("span", { class: "cut" }, name.slice(0, at)), name.slice(at));
}

/** @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
