// A table that sorts by any column, and shows its first lines until more are asked for.

import { h } from "./dom.js";

const PAGE = 150;

/**
 * @template T
 * @typedef {object} GridColumn
 * @property {string} head
 * @property {(item: T) => any} cell what is shown
 * @property {(item: T) => string | number | null} [key] what is sorted by
 * @property {boolean} [number]
 */

/**
 * @template T
 * @param {{caption: string, columns: GridColumn<T>[], items: T[], sort: string, changeSort: (sort: string) => void, open?: (item: T) => void, name?: (item: T) => string}} what
 *   `sort` is the place of a column, with a minus before it for descending order
 * @returns {HTMLElement}
 */
export function grid(what) {
  const body = h("tbody");
  const more = h("button", { type: "button", class: "more" });
  const frame = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": what.caption });
  let { sort } = what;
  let shown = PAGE;
  const fill = () => {
    const sorted = sortedItems(what.columns, what.items, sort);
    body.replaceChildren(...sorted.slice(0, shown).map((item) => gridRow(what, item)));
    more.hidden = shown >= sorted.length;
    more.textContent = `Show ${Math.min(PAGE, sorted.length - shown)} more of ${sorted.length}`;
  };
  const head = h("tr");
  const heads = () => head.replaceChildren(...what.columns.map((column, k) => headCell(column, k, sort, (next) => {
    sort = next;
    what.changeSort(next);
    heads();
    head.children[k].querySelector("button")?.focus();
    fill();
  })));
  more.addEventListener("click", () => { shown += PAGE; fill(); });
  heads();
  fill();
  frame.append(h("table", {}, h("caption", { class: "hidden" }, what.caption), h("thead", {}, head), body));
  return h("div", {}, frame, more);
}

/**
 * @template T
 * @param {GridColumn<T>} column
 * @param {number} place
 * @param {string} sort
 * @param {(sort: string) => void} change
 */
function headCell(column, place, sort, change) {
  const up = sort === String(place);
  const down = sort === `-${place}`;
  const state = up ? "ascending" : down ? "descending" : "none";
  if (!column.key) return h("th", { scope: "col", class: column.number ? "number" : null }, column.head);
  return h("th", { scope: "col", "aria-sort": state, class: column.number ? "number" : null },
    h("button", { type: "button", onclick: () => change(up ? `-${place}` : String(place)) }, column.head, h("span", { "aria-hidden": "true" }, up ? " ▲" : down ? " ▼" : "")));
}

/**
 * @template T
 * @param {GridColumn<T>[]} columns
 * @param {T[]} items
 * @param {string} sort
 */
function sortedItems(columns, items, sort) {
  const key = columns[Math.abs(Number(sort))]?.key;
  if (sort === "" || !key) return items;
  const sign = sort.startsWith("-") ? -1 : 1;
  return [...items].sort((a, b) => compare(key(a), key(b), sign));
}

/**
 * What is missing comes last in either order.
 * @param {string | number | null} a
 * @param {string | number | null} b
 * @param {number} sign
 */
function compare(a, b, sign) {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
}

/**
 * @template T
 * @param {any} what
 * @param {T} item
 */
function gridRow(what, item) {
  const cells = what.columns.map((/** @type {GridColumn<T>} */ column, /** @type {number} */ k) => {
    const content = column.cell(item);
    const opens = k === 0 && what.open;
    const shown = opens ? h("button", { type: "button", class: "link", "aria-haspopup": "dialog", "aria-label": what.name?.(item) }, content) : content;
    return h(k === 0 ? "th" : "td", { scope: k === 0 ? "row" : null, class: column.number ? "number" : null }, shown);
  });
  return h("tr", { class: what.open ? "opens" : null, onclick: what.open ? (/** @type {any} */ event) => { if (!event.target.closest("a")) what.open(item); } : null }, cells);
}
