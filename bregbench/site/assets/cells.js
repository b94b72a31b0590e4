// Every cell beside the published number: search, filters, order; a row opens what is behind it.

import { badge, choice, h, show } from "./dom.js";
import { distinct, isPublished } from "./data.js";
import { openDetail } from "./detail.js";
import { grid } from "./grid.js";
import { noteState, readState } from "./state.js";

/** @typedef {import("./data.js").Cell} Cell */
/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("./state.js").State} State */

const FILTERS = ["paper", "table", "data", "method", "verdict", "n"];
/** @type {Record<string, string>} */
const LABELS = { paper: "Paper", table: "Table or figure", data: "Data set", method: "Method", verdict: "Verdict", n: "Seeds" };

/**
 * @param {Data} data
 * @param {State} state
 */
export function cellsView(data, state) {
  const results = h("div");
  const count = h("p", { role: "status" });
  const update = () => {
    const now = readState();
    const found = data.cells.filter((cell) => fits(cell, now));
    count.textContent = `${found.length} of ${data.cells.length} numbers`;
    results.replaceChildren(...claimsOf(data, now), cellGrid(data, found, now));
  };
  const search = h("input", { type: "search", value: state.q ?? "", placeholder: "AdaBreg accuracy", oninput: (/** @type {any} */ event) => { noteState({ q: event.target.value }); update(); } });
  const unpublished = h("input", { type: "checkbox", checked: state.all === "1", onchange: (/** @type {any} */ event) => { noteState({ all: event.target.checked ? "1" : "" }); update(); } });
  update();
  const opened = state.open ? data.cells.find((cell) => addressOfCell(cell) === state.open) : undefined;
  if (opened) setTimeout(() => openCell(data, opened));
  return h("section", {},
    h("h2", {}, "Every number beside the published one"),
    h("form", { class: "filters", role: "search", onsubmit: (/** @type {any} */ event) => event.preventDefault() },
      h("label", { class: "wide" }, h("span", {}, "Search"), search),
      FILTERS.map((key) => choice(LABELS[key], optionsOf(data, key), state[key] ?? "", (value) => { noteState({ [key]: value }); update(); })),
      h("label", { class: "check" }, unpublished, h("span", {}, "numbers that no paper prints, too")),
      h("button", { type: "reset", onclick: () => { location.hash = "#view=cells"; } }, "Clear")),
    count, results);
}

/**
 * @param {Data} data
 * @param {string} key
 * @returns {[string, string][]}
 */
function optionsOf(data, key) {
  const values = distinct(data.cells.map((cell) => String(cell[/** @type {keyof Cell} */ (key)])));
  const text = (/** @type {string} */ value) => (key === "paper" ? data.papers[value] : value === "-" ? "no claim" : value);
  if (key === "table") return [["", "all"], ...data.tables.map(({ name }) => /** @type {[string, string]} */ ([name, name.replaceAll("_", " ")]))];
  return [["", "all"], ...values.map((value) => /** @type {[string, string]} */ ([value, text(value)]))];
}

/**
 * @param {Cell} cell
 * @param {State} state
 */
function fits(cell, state) {
  if (!isPublished(cell) && state.all !== "1") return false;
  if (FILTERS.some((key) => state[key] && String(cell[/** @type {keyof Cell} */ (key)]) !== state[key])) return false;
  const text = `${cell.row} ${cell.column} ${cell.table} ${cell.data} ${cell.method} ${cell.verdict} ${cell.reason}`.toLowerCase();
  return (state.q ?? "").toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/**
 * What a shared address calls a cell, whatever is added before it.
 * @param {Cell} cell
 */
function addressOfCell(cell) {
  return `${cell.table}|${cell.row}|${cell.column}`;
}

/**
 * @param {Data} data
 * @param {Cell} cell
 */
function openCell(data, cell) {
  noteState({ open: addressOfCell(cell) });
  openDetail(data, cell, () => noteState({ open: "" }));
}

/**
 * The claims of the one table that is chosen.
 * @param {Data} data
 * @param {State} state
 */
function claimsOf(data, state) {
  const table = data.tables.find(({ name }) => name === state.table);
  if (!table) return [];
  const lines = table.claims.map((claim) => h("li", {}, badge(claim.verdict), ` ${claim.claim} `, h("span", { class: "muted" }, `smallest difference: ${claim.reason || "unknown"}${claim.published ? `; published ${claim.published}` : ""}`)));
  return [h("h3", {}, table.title), ...(lines.length ? [h("details", { open: true }, h("summary", {}, `${lines.length} claims of the paper`), h("ul", { class: "claims" }, lines))] : [])];
}

/**
 * @param {Data} data
 * @param {Cell[]} cells
 * @param {State} state
 */
function cellGrid(data, cells, state) {
  const ours = (/** @type {Cell} */ cell) => (cell.mean === null ? "" : `${show(cell.mean)}${cell.sd === null ? "" : ` ± ${show(cell.sd, 2)}`}`);
  return grid({
    caption: "Our numbers beside the published ones",
    items: cells,
    sort: state.sort ?? "",
    changeSort: (sort) => noteState({ sort }),
    open: (cell) => openCell(data, cell),
    name: (cell) => `${cell.row}: ${cell.column} of ${cell.table}`,
    columns: [
      { head: "Row", cell: (cell) => cell.row, key: (cell) => cell.row },
      { head: "Number", cell: (cell) => cell.column, key: (cell) => cell.column },
      { head: "Ours", cell: ours, key: (cell) => cell.mean, number: true },
      { head: "Published", cell: (cell) => show(cell.published, 6), key: (cell) => cell.published, number: true },
      { head: "Unit", cell: (cell) => (cell.unit === "1" ? "" : cell.unit) },
      { head: "Seeds", cell: (cell) => cell.n || "", key: (cell) => cell.n, number: true },
      { head: "Verdict", cell: (cell) => badge(cell.verdict), key: (cell) => cell.verdict },
      { head: "Data", cell: (cell) => cell.data, key: (cell) => cell.data },
      { head: "Method", cell: (cell) => cell.method, key: (cell) => cell.method },
      { head: "Table", cell: (cell) => cell.table.replaceAll("_", " "), key: (cell) => cell.table },
    ],
  });
}
