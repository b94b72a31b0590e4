// What is behind one cell: command, config, seeds, commit, device, reason and the curve.

import { badge, h, seedCount, show } from "./dom.js";
import { curvesPlot, metricsOf } from "./curves.js";
import { addressOf } from "./state.js";

/** @typedef {import("./data.js").Cell} Cell */
/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("./data.js").Run} Run */

/**
 * @param {Data} data
 * @param {Cell} cell
 * @param {() => void} closed
 */
export function openDetail(data, cell, closed) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("detail"));
  const run = data.runs.get(cell.record);
  const plot = h("div", { class: "plot" });
  dialog.replaceChildren(...[
    h("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close"),
    h("h2", { id: "detail-title" }, `${cell.row}: ${cell.column}`),
    h("p", {}, badge(cell.verdict), " ", sentence(cell)),
    facts(data, cell, run),
    run ? h("h3", {}, "Curve") : null,
    run ? plot : null,
    run ? h("p", {}, h("a", { href: addressOf({ view: "curves", runs: run.record, metric: curveMetric(cell, run) }), onclick: () => dialog.close() }, "Compare this curve with others")) : null,
    run ? h("details", {}, h("summary", {}, `Config of the run (${run.config.length} values)`), h("pre", { tabindex: "0" }, run.config.join("\n"))) : null,
  ].filter((part) => part !== null));
  dialog.onclose = () => { dialog.replaceChildren(); closed(); };
  if (!dialog.open) dialog.showModal();
  if (run) curvesPlot(plot, [run], curveMetric(cell, run), { height: 240, logY: false });
}

/**
 * What was measured and what was published, as a sentence.
 * @param {Cell} cell
 */
function sentence(cell) {
  const unit = cell.unit === "1" ? "" : ` ${cell.unit}`;
  const spread = cell.sd === null ? "" : ` ± ${show(cell.sd, 3)}`;
  const ours = cell.mean === null ? "Nothing of ours is recorded" : `Ours is ${show(cell.mean)}${spread}${unit} (${seedCount(cell.n)})`;
  const theirs = cell.published === null ? "the papers print no number" : `the paper prints ${show(cell.published, 6)}${unit} (margin ${show(cell.margin)})`;
  return `${ours}, ${theirs}.${cell.reason ? ` Reason: ${cell.reason}.` : ""}`;
}

/**
 * The metric of the curve that belongs to a cell.
 * @param {Cell} cell
 * @param {Run} run
 */
export function curveMetric(cell, run) {
  const known = metricsOf([run]);
  const base = cell.column.split("@")[0].split(" ").at(-1) ?? "";
  const near = base.replace(/^test\//, "validation/");
  return [base, near, "density/total", "train/loss"].find((name) => known.includes(name)) ?? known[0];
}

/**
 * @param {Data} data
 * @param {Cell} cell
 * @param {Run | undefined} run
 */
function facts(data, cell, run) {
  /** @type {[string, any][]} */
  const lines = [
    ["Table", h("a", { href: addressOf({ view: "cells", table: cell.table }), onclick: () => /** @type {any} */ (document.getElementById("detail")).close() }, data.tables.find((table) => table.name === cell.table)?.title ?? cell.table)],
    ["Command", h("span", { class: "copy" }, h("code", {}, cell.command), copyButton(cell.command))],
    ["Seeds", cell.seeds],
    ["Epochs", cell.epochs && `${cell.epochs} (${cell.selection})`],
    ["Data set", cell.data],
    ["Method", cell.method],
    ["Record", cell.record && h("code", {}, `results/records/${cell.record}`)],
    ["Commit", cell.commit && h("code", {}, cell.commit)],
    ["Device", cell.device],
    ["Versions", run && [...new Set(run.versions)].join("; ")],
    ["Seconds", run && run.seconds.map((value) => show(value)).join(", ")],
    ["Source", cell.source],
  ];
  return h("dl", {}, lines.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** @param {string} text */
function copyButton(text) {
  const button = h("button", { type: "button", onclick: async () => {
    await navigator.clipboard?.writeText(text);
    button.textContent = "Copied";
  } }, "Copy");
  return button;
}
