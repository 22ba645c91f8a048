// A slider with its name in front and its value behind.

import { h } from "./dom.js";

/**
 * @param {string} label @param {number} value @param {[number, number]} range @param {(value: number) => string} write
 * @param {(value: number, input: HTMLInputElement) => void} act @param {string} key
 */
export function slider(label, value, [least, most], write, act, key) {
  const output = h("output", {}, write(value));
  const input = h("input", {
    type: "range", min: least, max: most, step: (most - least) / 200 || 1, value, "data-key": key, "data-testid": key,
    "aria-valuetext": write(value),
    oninput: () => {
      output.textContent = write(input.valueAsNumber);
      input.setAttribute("aria-valuetext", write(input.valueAsNumber));
      act(input.valueAsNumber, input);
    },
  });
  return h("label", { class: "slider" }, h("span", {}, label), input, output);
}
