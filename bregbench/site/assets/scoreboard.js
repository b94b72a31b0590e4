// The scoreboard: papers and their tables with counts of verdicts; every count leads to its cells.

import { h } from "./dom.js";
import { isPublished } from "./data.js";
import { addressOf } from "./state.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("./data.js").Table} Table */

export const VERDICTS = ["PASS", "BETTER", "MATCHED", "INCONCLUSIVE", "FAIL", "BY CONSTRUCTION", "NOT RUN"];

/**
 * @param {Data} data
 * @param {import("./state.js").State} state
 */
export function scoreboardView(data, state) {
  const judged = data.tables.filter((table) => table.cells.some(isPublished));
  const papers = Object.keys(data.papers).filter((paper) => judged.some((table) => table.paper === paper));
  const body = papers.flatMap((paper) => paperLines(data, paper, judged.filter((table) => table.paper === paper), state.paper === paper));
  const all = h("tr", { class: "total" }, h("th", { scope: "row" }, "All papers"), counts(judged, {}));
  const heads = ["Paper, table or figure", ...VERDICTS, "Seeds (numbers)", "Claims held"];
  return h("section", {},
    h("h2", {}, "Do the published numbers hold?"),
    h("p", {}, "A count opens the numbers behind it; a paper unfolds its tables and figures. With two seeds or more the 95 % interval of the mean decides, with one seed the value. MATCHED numbers were steered to the published ones and are no evidence."),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scoreboard" },
      h("table", { class: "scoreboard" }, h("caption", { class: "hidden" }, "Published numbers by paper and verdict"),
        h("thead", {}, h("tr", {}, heads.map((head, k) => h("th", { scope: "col", class: k ? "number" : null }, head)))),
        h("tbody", {}, body, all))));
}

/**
 * @param {Data} data
 * @param {string} paper
 * @param {Table[]} tables
 * @param {boolean} open
 */
function paperLines(data, paper, tables, open) {
  const toggle = h("a", { href: addressOf({ view: "scoreboard", paper: open ? "" : paper }), "aria-expanded": String(open), role: "button", "data-paper": paper }, open ? "▾ " : "▸ ", data.papers[paper]);
  const head = h("tr", { class: "paper" }, h("th", { scope: "row" }, toggle), counts(tables, { paper }));
  if (!open) return [head];
  return [head, ...tables.map((table) => h("tr", { class: "table" },
    h("th", { scope: "row" }, h("a", { href: addressOf({ view: "cells", table: table.name }) }, shortName(table))), counts([table], { table: table.name })))];
}

/** @param {Table} table */
export function shortName(table) {
  const [, ...words] = table.name.split("_");
  const name = words.join(" ").replace(/^(table|figure)(\d+)/, (_, kind, number) => `${kind === "table" ? "Table" : "Figure"} ${number}`);
  return name[0].toUpperCase() + name.slice(1);
}

/**
 * @param {Table[]} tables
 * @param {import("./state.js").State} filters
 */
function counts(tables, filters) {
  const cells = tables.flatMap((table) => table.cells).filter(isPublished);
  const most = cells.length || 1;
  const counted = VERDICTS.map((verdict) => {
    const found = cells.filter((cell) => cell.verdict === verdict).length;
    const share = `--share: ${Math.round((100 * found) / most)}%`;
    const shown = found ? h("a", { href: addressOf({ view: "cells", ...filters, verdict }), "aria-label": `${found} ${verdict}` }, found) : "·";
    return h("td", { class: "number count", style: found ? share : null, "data-verdict": verdict }, shown);
  });
  return [...counted, h("td", { class: "number" }, seedsText(cells)), h("td", { class: "number" }, claimsText(tables))];
}

/** @param {import("./data.js").Cell[]} cells */
function seedsText(cells) {
  /** @type {Map<number, number>} */
  const by = new Map();
  for (const { n } of cells) if (n) by.set(n, (by.get(n) ?? 0) + 1);
  return [...by].sort(([a], [b]) => a - b).map(([n, count]) => `${n}\u00a0(${count})`).join(", ");
}

/** @param {Table[]} tables */
function claimsText(tables) {
  const claims = tables.flatMap((table) => table.claims).filter(({ claim }) => !claim.startsWith("not in the paper"));
  const held = claims.filter(({ verdict }) => verdict === "PASS").length;
  return claims.length ? `${held} of ${claims.length}` : "";
}
