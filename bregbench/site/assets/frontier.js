// The frontier: any two metrics against each other, and which method is best at a density.

import { choice, h, seedCount, show } from "./dom.js";
import { distinct } from "./data.js";
import { grid } from "./grid.js";
import { namesOf } from "./curves.js";
import { COLOURS } from "./plot.js";
import { scatterPlot } from "./scatter.js";
import { deviation, differenceInterval, lowerIsBetter, mean, paretoFront } from "./stats.js";
import { addressOf, noteState, readState } from "./state.js";

/** @typedef {import("./data.js").Cell} Cell */
/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("./data.js").Run} Run */
/** @typedef {import("./stats.js").Point} Point */
/** @typedef {import("./state.js").State} State */

/**
 * What is left out of the address: the view that answers "which method is best at 2 % on Fashion-MNIST".
 * @param {State} state
 * @returns {State}
 */
function completed(state) {
  return { x: "density/total", y: "test/accuracy", data: "fashion_mnist", from: "", logx: "1", logy: "0", at: "", method: "", pins: "", ...state };
}

/**
 * The points of all runs: final metrics by seed; and of rendered tables whose runs are not in the page.
 * @param {Data} data
 * @param {State} state
 * @returns {Point[]}
 */
export function pointsOf(data, state) {
  const records = state.from ? new Map(data.cells.filter((cell) => cell.table === state.from).map((cell) => [cell.record, cell.row])) : null;
  const names = namesOf(data);
  const ofRuns = [...data.runs.values()]
    .filter((run) => (!state.data || run.data === state.data) && (!records || records.has(run.record)))
    .flatMap((run) => Object.keys(run.final).map((variant) => pointOfRun(run, variant, records?.get(run.record) ?? names(run), state)));
  const ofTables = data.tables.filter((table) => !state.from || table.name === state.from).flatMap((table) => pointsOfTable(data, table.cells, state));
  return [...ofRuns, ...ofTables].filter((point) => point !== null).filter(({ mx, my }) => (state.logx !== "1" || mx > 0) && (state.logy !== "1" || my > 0));
}

/**
 * @param {Run} run
 * @param {string} variant
 * @param {string} label
 * @param {State} state
 * @returns {Point | null}
 */
function pointOfRun(run, variant, label, state) {
  const [xs, ys] = [run.final[variant][state.x], run.final[variant][state.y]];
  if (!xs || !ys) return null;
  const kept = run.seeds.map((_, k) => k).filter((k) => xs[k] !== null && ys[k] !== null);
  if (kept.length === 0) return null;
  const [x, y] = [kept.map((k) => Number(xs[k])), kept.map((k) => Number(ys[k]))];
  const shown = variant === "trained" ? label : `${label}, ${variant}`;
  return { label: shown, table: "", record: run.record, data: run.data, method: run.method, variant, seeds: kept.map((k) => run.seeds[k]), x, y, mx: mean(x), my: mean(y), n: kept.length, sd: deviation(y) };
}

/**
 * Rows of a rendered table that show both metrics and whose runs the page does not hold.
 * @param {Data} data
 * @param {Cell[]} cells
 * @param {State} state
 * @returns {Point[]}
 */
function pointsOfTable(data, cells, state) {
  /** @type {Map<string, Record<string, Cell>>} */
  const rows = new Map();
  for (const cell of cells) {
    if (cell.mean === null || data.runs.has(cell.record)) continue;
    const words = cell.column.split(" ");
    const metric = words.at(-1) ?? "";
    const key = `${cell.row} ${words.slice(0, -1).join(" ")}`.trim();
    rows.set(key, { ...rows.get(key), [metric]: cell });
  }
  return [...rows].flatMap(([label, by]) => {
    const [x, y] = [by[state.x], by[state.y]];
    if (!x || !y || (state.data && y.data && y.data !== state.data)) return [];
    const [fx, fy] = [data.units[x.unit], data.units[y.unit]];
    const sd = y.sd === null ? null : y.sd / fy;
    return [{ label: `${label} (${y.table.replaceAll("_", " ")})`, table: y.table, record: y.record, data: y.data, method: y.method || label, variant: "", seeds: [], x: [], y: [], mx: Number(x.mean) / fx, my: Number(y.mean) / fy, n: y.n, sd }];
  });
}

/** @param {Point} point */
function keyOf(point) {
  return `${point.record}|${point.variant}|${point.record ? "" : point.label}`;
}

/**
 * @param {Data} data
 * @param {State} given
 */
export function frontierView(data, given) {
  const parts = { plot: h("div", { class: "plot" }), legend: h("ul", { class: "legend" }), pins: h("div"), best: h("div"), table: h("div") };
  const update = () => renderFrontier(data, parts, update);
  const state = completed(given);
  const change = (/** @type {string} */ key) => (/** @type {string} */ value) => { noteState({ [key]: value }); update(); };
  const metrics = distinct([...data.runs.values()].flatMap((run) => Object.values(run.final).flatMap((final) => Object.keys(final)))).map((name) => /** @type {[string, string]} */ ([name, name]));
  const sets = distinct([...data.runs.values()].map((run) => run.data)).map((name) => /** @type {[string, string]} */ ([name, name]));
  const sources = data.tables.map((table) => /** @type {[string, string]} */ ([table.name, table.name.replaceAll("_", " ")]));
  const axisBox = (/** @type {string} */ key, /** @type {string} */ text) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: state[key] === "1", onchange: (/** @type {any} */ event) => change(key)(event.target.checked ? "1" : "0") }), h("span", {}, text));
  update();
  return h("section", {},
    h("h2", {}, "Frontier: one metric against another"),
    h("div", { class: "filters" },
      choice("Across", metrics, state.x, change("x")), choice("Up", metrics, state.y, change("y")),
      choice("Data set", [["", "all"], ...sets], state.data, change("data")),
      choice("Rows of", [["", "all runs"], ...sources], state.from, change("from")),
      axisBox("logx", "logarithmic across"), axisBox("logy", "logarithmic up")),
    parts.best, parts.plot, parts.legend, parts.pins, parts.table);
}

/**
 * @param {Data} data
 * @param {Record<string, HTMLElement>} parts
 * @param {() => void} update
 */
function renderFrontier(data, parts, update) {
  const state = completed(readState());
  const everything = pointsOf(data, state);
  const methods = byFrequency(everything.map((point) => point.method));
  const points = everything.filter((point) => !state.method || point.method === state.method);
  const pinned = points.filter((point) => state.pins.split(",").includes(keyOf(point)));
  const toggle = (/** @type {Point} */ point) => {
    const keys = new Set(state.pins.split(",").filter(Boolean));
    if (!keys.delete(keyOf(point))) keys.add(keyOf(point));
    noteState({ pins: [...keys].join(",") });
    update();
  };
  const front = paretoFront(points, lowerIsBetter(state.x), lowerIsBetter(state.y));
  const colourOf = (/** @type {string} */ method) => COLOURS[methods.indexOf(method) % COLOURS.length];
  parts.legend.replaceChildren(...methods.map((method) => h("li", {}, h("button", { type: "button", "aria-pressed": String(state.method === method), onclick: () => { noteState({ method: state.method === method ? "" : method }); update(); } }, h("span", { class: "swatch", style: `background: ${colourOf(method)}` }), method))));
  parts.plot.replaceChildren();
  parts.plot.setAttribute("role", "img");
  parts.plot.setAttribute("aria-label", `${state.y} against ${state.x}: ${points.length} points; the table below holds them`);
  setTimeout(() => { if (points.length) scatterPlot(parts.plot, { groups: methods.map((method) => ({ label: method, colour: colourOf(method), points: points.filter((point) => point.method === method) })), front, pinned, xLabel: state.x, yLabel: state.y, logX: state.logx === "1", logY: state.logy === "1", texts: (point) => textsOf(point, state), click: toggle }); else parts.plot.append(h("p", {}, "No run has both metrics.")); });
  parts.best.replaceChildren(...bestAt(data, points, state, update));
  parts.pins.replaceChildren(...comparison(pinned, toggle, state));
  parts.table.replaceChildren(pointGrid(points, new Set(front), pinned, toggle, state));
}

/** @param {string[]} words */
function byFrequency(words) {
  const count = (/** @type {string} */ word) => words.filter((other) => other === word).length;
  return distinct(words).sort((a, b) => count(b) - count(a));
}

/**
 * @param {Point} point
 * @param {State} state
 */
function textsOf(point, state) {
  return [point.label, `${point.method}, ${point.data}`, `${state.x}: ${show(point.mx)}`, `${state.y}: ${show(point.my)}${point.sd === null ? "" : ` ± ${show(point.sd, 2)}`}`, seedCount(point.n), "click to pin"];
}

/**
 * Which point is best near a place of the x axis, and whether its lead is significant.
 * @param {Data} data
 * @param {Point[]} points
 * @param {State} state
 * @param {() => void} update
 */
function bestAt(data, points, state, update) {
  const xs = points.map((point) => point.mx).sort((a, b) => a - b);
  const at = Number(state.at || (state.x === "density/total" ? 0.02 : (xs[xs.length >> 1] ?? 1).toPrecision(2)));
  const sign = lowerIsBetter(state.y) ? 1 : -1;
  const near = points.filter((point) => Math.abs(point.mx - at) <= 0.25 * at).sort((a, b) => sign * (a.my - b.my));
  const input = h("input", { type: "number", min: "0", step: "any", value: String(at), onchange: (/** @type {any} */ event) => { noteState({ at: event.target.value }); update(); } });
  const text = near.length === 0 ? "No run lies within a quarter of this value." : answer(data, near, at);
  return [h("div", { class: "best" }, h("label", {}, h("span", {}, `Best at ${state.x} =`), input), h("p", { role: "status" }, text))];
}

/**
 * @param {Data} data
 * @param {Point[]} near sorted, the best first
 * @param {number} at
 */
function answer(data, near, at) {
  const [first] = near;
  const second = near.find((point) => point.method !== first.method);
  const named = (/** @type {Point} */ point) => `${point.label} [${point.method}] with ${show(point.my)}${point.sd === null ? "" : ` ± ${show(point.sd, 2)}`} at ${show(point.mx, 3)} (${seedCount(point.n)})`;
  const lead = `Within a quarter of ${at}, ${near.length} ${near.length === 1 ? "point" : "points"}: the best is ${named(first)}.`;
  if (!second) return `${lead} No other method lies there.`;
  const found = differenceInterval(first, second, data.quantiles);
  const next = ` The best of another method is ${named(second)}.`;
  if (!found) return `${lead}${next} Whether the difference is significant cannot be said: it takes two seeds of each.`;
  const significant = found.low > 0 || found.high < 0;
  return `${lead}${next} The difference is ${significant ? "significant" : "not significant"}: its 95 % interval is ${show(found.low, 2)} to ${show(found.high, 2)} (${found.how}).`;
}

/**
 * @param {Point[]} pinned
 * @param {(point: Point) => void} toggle
 * @param {State} state
 */
function comparison(pinned, toggle, state) {
  if (pinned.length === 0) return [];
  const records = pinned.map((point) => point.record).filter(Boolean).join(",");
  return [h("section", { class: "pins", "aria-label": "Pinned points" }, h("h3", {}, "Pinned"),
    h("ul", {}, pinned.map((point) => h("li", {}, textsOf(point, state).slice(0, -1).join("; "), " ", h("button", { type: "button", onclick: () => toggle(point), "aria-label": `Unpin ${point.label}` }, "×")))),
    records ? h("a", { href: addressOf({ view: "curves", runs: records }) }, "Compare their learning curves") : null)];
}

/**
 * @param {Point[]} points
 * @param {Set<Point>} front
 * @param {Point[]} pinned
 * @param {(point: Point) => void} toggle
 * @param {State} state
 */
function pointGrid(points, front, pinned, toggle, state) {
  return grid({
    caption: "Points of the plot",
    items: points,
    sort: state.sort ?? "-3",
    changeSort: (sort) => noteState({ sort }),
    columns: [
      { head: "Row", cell: (point) => point.label, key: (point) => point.label },
      { head: "Method", cell: (point) => point.method, key: (point) => point.method },
      { head: state.x, cell: (point) => show(point.mx), key: (point) => point.mx, number: true },
      { head: state.y, cell: (point) => show(point.my), key: (point) => point.my, number: true },
      { head: "± sd", cell: (point) => show(point.sd, 2), key: (point) => point.sd, number: true },
      { head: "Seeds", cell: (point) => point.n, key: (point) => point.n, number: true },
      { head: "Front", cell: (point) => (front.has(point) ? "yes" : ""), key: (point) => (front.has(point) ? 1 : 0) },
      { head: "Pin", cell: (point) => h("button", { type: "button", "aria-pressed": String(pinned.includes(point)), "aria-label": `Pin ${point.label}`, onclick: () => toggle(point) }, pinned.includes(point) ? "pinned" : "pin") },
    ],
  });
}
