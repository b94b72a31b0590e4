// Making elements. Texts become text nodes, so that no text of the data is ever read as markup.

/** @typedef {string | number | Node | null | undefined | false} Child */

/**
 * An element with attributes, listeners (`onclick`) and children.
 * @param {string} name
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {any}
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "selected") /** @type {any} */ (element)[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/**
 * A labelled choice.
 * @param {string} label
 * @param {[string, string][]} options value and text of each
 * @param {string} chosen
 * @param {(value: string) => void} change
 * @returns {HTMLLabelElement}
 */
export function choice(label, options, chosen, change) {
  const select = h("select", { onchange: (/** @type {any} */ event) => change(event.target.value), "data-label": label });
  for (const [value, text] of options) select.append(h("option", { value, selected: value === chosen }, text));
  return h("label", {}, h("span", {}, label), select);
}

/**
 * A number for people: as many digits as a table needs.
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function show(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) return value.toExponential(2);
  return String(Number(value.toPrecision(digits)));
}

/**
 * A word of a verdict in its colour.
 * @param {string} verdict
 */
export function badge(verdict) {
  return h("span", { class: `verdict ${verdict.toLowerCase().replace(/[^a-z]+/g, "-")}` }, verdict === "-" ? "no claim" : verdict);
}

/**
 * How many seeds, in words.
 * @param {number} n
 */
export function seedCount(n) {
  return n === 1 ? "1 seed" : `${n} seeds`;
}
