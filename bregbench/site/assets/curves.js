// Learning curves of chosen runs: the mean over seeds with a band from the smallest to the largest.

import { choice, h, seedCount } from "./dom.js";
import { distinct, isPublished } from "./data.js";
import { COLOURS, linePlot } from "./plot.js";
import { mean } from "./stats.js";
import { noteState, readState } from "./state.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("./data.js").Run} Run */
/** @typedef {import("./state.js").State} State */

const SHOWN = 60;

/**
 * @param {Run[]} runs
 * @returns {string[]}
 */
export function metricsOf(runs) {
  return distinct(runs.flatMap((run) => run.curves.flatMap((curve) => Object.keys(curve)))).filter((name) => name !== "epoch");
}

/**
 * @param {HTMLElement} box
 * @param {Run[]} runs
 * @param {string} metric
 * @param {{height?: number, logY: boolean, names?: (run: Run) => string}} options
 */
export function curvesPlot(box, runs, metric, options) {
  const known = runs.filter((run) => run.curves.some((curve) => curve[metric]));
  if (known.length === 0) { box.replaceChildren(h("p", {}, "These runs have not recorded this metric.")); return; }
  const x = [...new Set(known.flatMap((run) => run.curves.flatMap((curve) => curve.epoch)))].sort((a, b) => Number(a) - Number(b)).map(Number);
  const lines = known.map((run, k) => ({ ...bandOf(run, metric, x), label: options.names?.(run) ?? seedCount(run.seeds.length), colour: COLOURS[runs.indexOf(run) % COLOURS.length] }));
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `${metric} over epochs: ${lines.map((line) => `${line.label} ends at ${lastOf(line.values)}`).join("; ")}`);
  linePlot(box, { x, lines, xLabel: "epoch", yLabel: metric, logY: options.logY, height: options.height });
}

/** @param {(number | null)[]} values */
function lastOf(values) {
  return values.findLast((value) => value !== null) ?? "nothing";
}

/**
 * Mean, smallest and largest value over the seeds at each epoch.
 * @param {Run} run
 * @param {string} metric
 * @param {number[]} x
 */
function bandOf(run, metric, x) {
  const bySeed = run.curves.filter((curve) => curve[metric]).map((curve) => new Map(curve.epoch.map((epoch, k) => [epoch, curve[metric][k]])));
  const at = x.map((epoch) => bySeed.map((values) => values.get(epoch)).filter((value) => value !== null && value !== undefined)).map((values) => /** @type {number[]} */ (values));
  const reduce = (/** @type {(values: number[]) => number} */ f) => at.map((values) => (values.length ? f(values) : null));
  const band = bySeed.length > 1 ? { low: reduce((v) => Math.min(...v)), high: reduce((v) => Math.max(...v)) } : {};
  return { values: reduce(mean), ...band };
}

/**
 * A name that people know: row and table where a table shows the run.
 * @param {Data} data
 */
export function namesOf(data) {
  /** @type {Map<string, string>} */
  const names = new Map();
  // Published rows first: settings and deviations show the same runs under other words.
  const cells = [...data.cells.filter(isPublished), ...data.cells];
  for (const cell of cells) if (cell.record && !names.has(cell.record)) names.set(cell.record, `${cell.row} (${cell.table.replaceAll("_", " ")})`);
  return (/** @type {Run} */ run) => names.get(run.record) ?? run.record;
}

/**
 * @param {Data} data
 * @param {State} state
 */
export function curvesView(data, state) {
  const names = namesOf(data);
  const all = [...data.runs.values()].filter((run) => run.curves.some((curve) => curve.epoch.length > 1))
    .sort((a, b) => names(a).localeCompare(names(b), "en", { numeric: true }));
  const chosen = new Set((state.runs ?? defaultRuns(data)).split(",").filter((record) => data.runs.has(record)));
  const plot = h("div", { class: "plot" });
  const legend = h("ul", { class: "legend" });
  const metric = h("div");
  const table = h("div");
  const update = () => {
    const runs = [...chosen].map((record) => /** @type {Run} */ (data.runs.get(record)));
    const now = readState();
    const known = metricsOf(runs);
    const shown = known.includes(now.metric) ? now.metric : known.includes("density/total") ? "density/total" : known[0] ?? "";
    metric.replaceChildren(choice("Metric", known.map((name) => /** @type {[string, string]} */ ([name, name])), shown, (value) => { noteState({ metric: value }); update(); }));
    legend.replaceChildren(...runs.map((run, k) => legendItem(run, k, names, () => { chosen.delete(run.record); noteState({ runs: [...chosen].join(",") }); update(); list.refresh(); })));
    plot.replaceChildren();
    if (runs.length) setTimeout(() => curvesPlot(plot, runs, shown, { logY: now.logy === "1", names, height: 400 }));
    else plot.append(h("p", {}, "Choose a run below."));
    table.replaceChildren(valuesTable(runs, shown, names));
  };
  const list = runList(all, names, chosen, () => { noteState({ runs: [...chosen].join(",") }); update(); });
  update();
  return h("section", {},
    h("h2", {}, "Learning curves"),
    h("p", {}, "A line is the mean over the seeds of one config, its band reaches from the smallest to the largest seed. Epoch 0 is the start of the run."),
    h("div", { class: "filters" }, metric,
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: state.logy === "1", onchange: (/** @type {any} */ event) => { noteState({ logy: event.target.checked ? "1" : "" }); update(); } }), h("span", {}, "logarithmic"))),
    plot, legend, table, list.element);
}

/**
 * LinBreg's inverse scale space: sparse at the start, denser with every epoch.
 * @param {Data} data
 */
function defaultRuns(data) {
  const wanted = data.cells.filter((cell) => cell.table === "bregman_figure2" && data.runs.get(cell.record)?.method === "linbreg");
  const records = wanted.length ? wanted.map((cell) => cell.record) : [...data.runs.keys()].slice(0, 3);
  return [...new Set(records)].join(",");
}

/**
 * @param {Run} run
 * @param {number} place
 * @param {(run: Run) => string} names
 * @param {() => void} remove
 */
function legendItem(run, place, names, remove) {
  return h("li", {}, h("span", { class: "swatch", style: `background: ${COLOURS[place % COLOURS.length]}` }), `${names(run)}, ${run.data}, ${seedCount(run.seeds.length)} `,
    h("button", { type: "button", "aria-label": `Remove ${names(run)}`, onclick: remove }, "×"));
}

/**
 * The numbers of the plot, for those who do not see it.
 * @param {Run[]} runs
 * @param {string} metric
 * @param {(run: Run) => string} names
 */
function valuesTable(runs, metric, names) {
  const known = runs.filter((run) => run.curves.some((curve) => curve[metric]));
  const lines = known.map((run) => {
    const x = [...new Set(run.curves.flatMap((curve) => curve.epoch))].map(Number).sort((a, b) => a - b);
    const { values } = bandOf(run, metric, x);
    const picked = [0, 0.01, 0.1, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (x.length - 1)));
    return h("tr", {}, h("th", { scope: "row" }, names(run)), h("td", {}, [...new Set(picked)].map((k) => `${x[k]}: ${values[k] === null ? "none" : Number(Number(values[k]).toPrecision(4))}`).join(", ")));
  });
  return h("details", {}, h("summary", {}, "The curves in numbers"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Curves in numbers" },
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Run"), h("th", { scope: "col" }, `Epoch: ${metric}`))), h("tbody", {}, lines))));
}

/**
 * The runs to choose from, with a search.
 * @param {Run[]} all
 * @param {(run: Run) => string} names
 * @param {Set<string>} chosen
 * @param {() => void} changed
 */
function runList(all, names, chosen, changed) {
  const list = h("ul", { class: "runs" });
  const count = h("p", { role: "status" });
  let words = [""];
  const refresh = () => {
    const found = all.filter((run) => words.every((word) => `${names(run)} ${run.record} ${run.data} ${run.method} ${run.model}`.toLowerCase().includes(word)));
    count.textContent = `${found.length} of ${all.length} configs${found.length > SHOWN ? `; the first ${SHOWN} are shown` : ""}`;
    list.replaceChildren(...found.slice(0, SHOWN).map((run) => h("li", {}, h("label", { class: "check" },
      h("input", { type: "checkbox", checked: chosen.has(run.record), onchange: (/** @type {any} */ event) => { if (event.target.checked) chosen.add(run.record); else chosen.delete(run.record); changed(); } }),
      h("span", {}, names(run), h("small", {}, ` ${run.data}, ${run.method}, ${run.model}, ${seedCount(run.seeds.length)}`))))));
  };
  const search = h("input", { type: "search", placeholder: "linbreg mnist", oninput: (/** @type {any} */ event) => { words = event.target.value.toLowerCase().split(/\s+/); refresh(); } });
  refresh();
  return { refresh, element: h("section", { "aria-label": "Runs to choose from" }, h("h3", {}, "Choose runs"), h("label", { class: "wide" }, h("span", {}, "Search runs"), search), count, list) };
}
