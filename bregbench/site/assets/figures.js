// The figures: the picture that the bench draws, and our points beside the published ones.

import { choice, h } from "./dom.js";
import { isPublished } from "./data.js";
import { COLOURS, linePlot } from "./plot.js";
import { addressOf, noteState, readState } from "./state.js";

/** @typedef {import("./data.js").Cell} Cell */
/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("./data.js").Table} Table */
/** @typedef {import("./state.js").State} State */

const MOST = COLOURS.length;

/**
 * @param {Data} data
 * @param {State} state
 */
export function figuresView(data, state) {
  const names = [...new Set([...Object.keys(data.pictures), ...data.tables.filter((table) => graphsOf(table.cells).length).map((table) => table.name)])].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const titles = new Map(data.tables.map((table) => [table.name, table.title]));
  const chosen = names.includes(state.figure) ? state.figure : names.find((name) => name === "bregman_figure2") ?? names[0];
  const figure = h("div");
  const show = (/** @type {string} */ name) => figure.replaceChildren(...contents(data, name));
  show(chosen);
  return h("section", {},
    h("h2", {}, "Figures, ours beside the published points"),
    h("div", { class: "filters broad" }, choice("Figure", names.map((name) => /** @type {[string, string]} */ ([name, titles.get(name) ?? name.replaceAll("_", " ")])), chosen, (name) => { noteState({ figure: name }); show(name); })),
    figure);
}

/**
 * @param {Data} data
 * @param {string} name
 */
function contents(data, name) {
  const table = data.tables.find((other) => other.name === name);
  const picture = data.pictures[name];
  const graphs = table ? graphsOf(table.cells) : [];
  return [
    h("h3", {}, table?.title ?? name.replaceAll("_", " ")),
    table ? h("p", {}, h("a", { href: addressOf({ view: "cells", table: name, all: "1" }) }, "All numbers of this figure with their verdicts")) : null,
    ...graphs.map((what) => graph(data, what)),
    picture ? h("figure", {}, h("img", { src: picture, alt: `${table?.title ?? name}, as the bench draws it`, loading: "lazy" }), h("figcaption", {}, "As the bench draws it from the records.")) : null,
  ].filter((part) => part !== null);
}

/** @typedef {{metric: string, unit: string, cells: {cell: Cell, x: number}[]}} Graph */

/**
 * The columns `metric@x` and `curve/x` of a figure, by metric; two places of x at least.
 * @param {Cell[]} cells
 * @returns {Graph[]}
 */
function graphsOf(cells) {
  /** @type {Map<string, Graph>} */
  const graphs = new Map();
  for (const cell of cells) {
    const found = /^(.*)@([-\d.e+]+)$/.exec(cell.column) ?? /^(curve)\/([-\d.]+)$/.exec(cell.column);
    if (!found) continue;
    const graph = graphs.get(found[1]) ?? { metric: found[1], unit: cell.unit, cells: [] };
    graph.cells.push({ cell, x: Number(found[2]) });
    graphs.set(found[1], graph);
  }
  return [...graphs.values()].filter((graph) => new Set(graph.cells.map(({ x }) => x)).size > 1);
}

/**
 * @param {Data} data
 * @param {Graph} what
 */
function graph(data, what) {
  const overEpochs = what.cells.some(({ cell }) => data.runs.get(cell.record)?.curves[0]?.[what.metric]);
  const rows = [...new Set(what.cells.map(({ cell }) => cell.row))];
  const x = [...new Set(what.cells.map(({ x: place }) => place))].sort((a, b) => a - b);
  const values = (/** @type {string} */ row, /** @type {"mean" | "published"} */ key) => x.map((place) => what.cells.find((entry) => entry.cell.row === row && entry.x === place)?.cell[key] ?? null);
  const hidden = new Set(rows.slice(MOST));
  const box = h("div", { class: "plot", role: "img", "aria-label": `${what.metric} over x: ours as lines, the published points as circles; the table of numbers holds all of them` });
  const redraw = () => {
    box.replaceChildren();
    const lines = rows.filter((row) => !hidden.has(row)).flatMap((row) => {
      const colour = COLOURS[rows.indexOf(row) % MOST];
      return [{ label: row, values: values(row, "mean"), colour }, { label: `${row}, published`, values: values(row, "published"), colour, marks: true }];
    });
    const unit = what.unit === "1" ? "" : ` [${what.unit}]`;
    setTimeout(() => linePlot(box, { x, lines, xLabel: overEpochs ? "epoch" : "x", yLabel: `${what.metric}${unit}`, height: 320 }));
  };
  redraw();
  const published = what.cells.filter(({ cell }) => isPublished(cell)).length;
  return h("div", { class: "graph" }, h("h4", {}, what.metric), box,
    h("p", { class: "muted" }, `Lines: ours. Circles: ${published} published points.`),
    h("ul", { class: "legend" }, rows.map((row, k) => h("li", {}, h("button", { type: "button", "aria-pressed": String(!hidden.has(row)), onclick: (/** @type {any} */ event) => {
      if (!hidden.delete(row)) hidden.add(row);
      event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(row)));
      redraw();
    } }, h("span", { class: "swatch", style: `background: ${COLOURS[k % MOST]}` }), row)))));
}
