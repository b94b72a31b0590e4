// The data of the page, unpacked into objects once.

/**
 * @typedef {object} Cell
 * @property {string} table
 * @property {string} paper
 * @property {string} row
 * @property {string} column
 * @property {string} unit
 * @property {string} verdict
 * @property {string} reason
 * @property {string} selection
 * @property {string} epochs
 * @property {string} seeds
 * @property {string} device
 * @property {string} commit
 * @property {string} record
 * @property {string} command
 * @property {string} source
 * @property {string} data
 * @property {string} method
 * @property {number | null} published
 * @property {number | null} margin
 * @property {number | null} mean
 * @property {number | null} sd
 * @property {number} n
 */
/** @typedef {{claim: string, column: string, above: string, below: string, verdict: string, reason: string, published: string}} Claim */
/** @typedef {{name: string, title: string, paper: string, cells: Cell[], claims: Claim[]}} Table */
/** @typedef {Record<string, Record<string, (number | null)[]>>} Final by variant and metric, one value per seed */
/** @typedef {Record<string, (number | null)[]>} Curve by metric, and `epoch` */
/**
 * @typedef {object} Run
 * @property {string} record
 * @property {string} data
 * @property {string} model
 * @property {string} method
 * @property {number[]} seeds
 * @property {string[]} commit
 * @property {string[]} device
 * @property {string[]} versions
 * @property {number[]} epochs
 * @property {number[]} seconds
 * @property {string[]} config
 * @property {Final} final
 * @property {Curve[]} curves
 */
/**
 * @typedef {object} Data
 * @property {Record<string, string>} papers
 * @property {Record<string, number>} units
 * @property {number[]} quantiles
 * @property {Table[]} tables
 * @property {Cell[]} cells
 * @property {Map<string, Run>} runs
 * @property {Record<string, string>} pictures
 */

const CLAIM = ["claim", "column", "above", "below", "verdict", "reason", "published"];

/** @returns {Promise<Data>} */
export async function readData() {
  const packed = document.getElementById("data")?.textContent ?? "";
  const bytes = Uint8Array.from(atob(packed.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return unpack(JSON.parse(await new Response(stream).text()));
}

/**
 * @param {any} raw
 * @returns {Data}
 */
function unpack(raw) {
  /** @type {Cell[]} */
  const cells = [];
  const tables = raw.tables.map((/** @type {any} */ table) => {
    const own = table.cells.map((/** @type {any[]} */ line) => unpackCell(raw, table, line));
    cells.push(...own);
    const claims = table.claims.map((/** @type {string[]} */ line) => Object.fromEntries(CLAIM.map((key, k) => [key, line[k]])));
    return { ...table, cells: own, claims };
  });
  const runs = new Map(raw.runs.map((/** @type {any} */ run) => unpackRun(raw.texts, run)).map((/** @type {Run} */ run) => [run.record, run]));
  return { papers: raw.papers, units: raw.units, quantiles: raw.quantiles, tables, cells, runs, pictures: raw.pictures };
}

/**
 * @param {any} raw
 * @param {any} table
 * @param {any[]} line
 * @returns {Cell}
 */
function unpackCell(raw, table, line) {
  const numbers = new Set(["published", "margin", "mean", "sd", "n"]);
  const cell = Object.fromEntries(raw.cell.map((/** @type {string} */ key, /** @type {number} */ k) => [key, numbers.has(key) ? line[k] : raw.texts[line[k]]]));
  return /** @type {Cell} */ ({ ...cell, n: cell.n ?? 0, table: table.name, paper: table.paper });
}

/**
 * @param {string[]} texts
 * @param {any} run
 * @returns {Run}
 */
function unpackRun(texts, run) {
  const read = (/** @type {number} */ place) => texts[place];
  return {
    ...run,
    record: read(run.record),
    commit: run.commit.map(read),
    device: run.device.map(read),
    versions: run.versions.map(read),
    config: run.config.map(read),
    curves: run.curves.map(unpackCurve),
  };
}

/**
 * A column with one value stands for the same value at every epoch.
 * @param {Curve} curve
 */
function unpackCurve(curve) {
  const count = curve.epoch.length;
  return Object.fromEntries(Object.entries(curve).map(([key, values]) => [key, values.length === count ? values : Array(count).fill(values[0])]));
}

/**
 * Published numbers alone, which verdicts are about.
 * @param {Cell} cell
 */
export function isPublished(cell) {
  return cell.published !== null;
}

/**
 * Words in the order of their alphabet, each once.
 * @param {Iterable<string>} words
 */
export function distinct(words) {
  return [...new Set(words)].filter(Boolean).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}
