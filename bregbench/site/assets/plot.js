// Plots: uPlot with the colours of the page, bands, logarithmic axes and a note under the pointer.

/** @type {any} */
const Plot = /** @type {any} */ (globalThis).uPlot;

/** Colours that stand out from white and from black (3 : 1 at least), and from each other for most eyes. */
export const COLOURS = ["#2f7fd6", "#d9541e", "#2b9348", "#a259c4", "#b8860b", "#d6336c", "#0d9488", "#7c6f64", "#6d7bf0", "#8a9a0a", "#c2410c", "#7aa2b8"];

/** @type {Set<{plot: any, box: HTMLElement, height: number}>} */
const living = new Set();

/** Forget the plots of a view that is left. */
export function clearPlots() {
  for (const entry of living) if (!entry.box.isConnected) { entry.plot.destroy(); living.delete(entry); }
}

/**
 * A colour of the page.
 * @param {string} name
 */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {(number | null)[]} values
 * @property {string} colour
 * @property {(number | null)[]} [low] of a band
 * @property {(number | null)[]} [high]
 * @property {boolean} [marks] points alone, without a line
 * @property {boolean} [dashed]
 */

/**
 * Ticks of a logarithmic axis that would overlap carry no number.
 * @param {any} plot
 * @param {number[]} ticks
 */
function tickTexts(plot, ticks) {
  return ticks.map((tick) => (tick === null ? "" : Math.abs(tick) >= 1e5 || (tick !== 0 && Math.abs(tick) < 1e-3) ? tick.toExponential(0) : String(Number(tick.toPrecision(6)))));
}

/**
 * Texts for the powers of ten of a logarithmic axis, and for 2 and 5 between where it spans few of them.
 * @param {any} plot
 * @param {(number | null)[]} ticks
 * @param {number} axis
 */
function logTexts(plot, ticks, axis) {
  const { min, max } = plot.scales[plot.axes[axis].scale];
  const decades = Math.log10(max / min);
  const leads = decades < 0.8 ? "123456789" : decades < 2.5 ? "125" : "1";
  return tickTexts(plot, ticks.map((tick) => /** @type {number} */ (tick !== null && leads.includes(tick.toExponential()[0]) ? tick : null)));
}

/**
 * Ticks at 1, 2, ... 9 times every power of ten; uPlot's own begin at the edge of the scale.
 * @param {any} plot
 * @param {number} axisIndex
 * @param {number} min
 * @param {number} max
 */
function logTicks(plot, axisIndex, min, max) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power++)
    for (let lead = 1; lead < 10; lead++) ticks.push(Number(`${lead}e${power}`));
  return ticks.filter((tick) => tick >= min && tick <= max);
}

/**
 * @param {string} label
 * @param {boolean} log
 * @param {boolean} upright
 */
export function axis(label, log, upright) {
  return {
    label,
    labelSize: 22,
    labelFont: "13px system-ui",
    font: "12px system-ui",
    size: upright ? 62 : 40,
    stroke: () => colour("--text"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { stroke: () => colour("--line"), width: 1 },
    filter: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks, // else uPlot hides all but powers of ten
    splits: log ? logTicks : undefined,
    values: log ? logTexts : tickTexts,
  };
}

/**
 * @param {boolean} log
 */
export function scale(log) {
  return log
    ? { time: false, distr: 3, log: 10, range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => (low > 0 ? [low / 1.25, high * 1.25] : [1e-3, 1]) }
    : { time: false, range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => padded(low, high) };
}

/**
 * @param {number | null} low
 * @param {number | null} high
 */
function padded(low, high) {
  if (low === null || high === null) return [0, 1];
  const more = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - more, high + more];
}

/**
 * Put a plot into a box and keep it as wide as the box.
 * @param {HTMLElement} box
 * @param {any} options
 * @param {any[]} data
 * @param {number} height
 */
export function draw(box, options, data, height) {
  const width = Math.max(260, box.clientWidth);
  const plot = new Plot({ width, height, ...options }, data, box);
  const entry = { plot, box, height };
  living.add(entry);
  return plot;
}

/** The plots take the width of their boxes and the colours of the page again. */
export function refreshPlots() {
  clearPlots();
  for (const { plot, box, height } of living) plot.setSize({ width: Math.max(260, box.clientWidth), height });
}

/**
 * Lines over a common x, each with a band where it has one.
 * @param {HTMLElement} box
 * @param {{x: number[], lines: Line[], xLabel: string, yLabel: string, logX?: boolean, logY?: boolean, height?: number}} what
 */
export function linePlot(box, what) {
  /** @type {any[]} */
  const series = [{ label: what.xLabel }];
  /** @type {any[]} */
  const data = [what.x];
  /** @type {any[]} */
  const bands = [];
  for (const line of what.lines) {
    series.push({
      label: line.label, stroke: line.colour, width: line.marks ? 0 : 2, spanGaps: true, dash: line.dashed ? [6, 4] : undefined,
      paths: line.marks ? () => null : undefined,
      points: line.marks ? { show: true, size: 9, fill: "transparent", stroke: line.colour, width: 2 } : { show: what.x.length < 2, size: 7 },
      value: (/** @type {any} */ _, /** @type {number | null} */ value) => numberText(value),
    });
    data.push(what.logY ? positive(line.values) : line.values);
    if (line.low && line.high) {
      const edge = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
      series.push({ ...edge, label: `${line.label}: upper end` }, { ...edge, label: `${line.label}: lower end` });
      data.push(what.logY ? positive(line.high) : line.high, what.logY ? positive(line.low) : line.low);
      bands.push({ series: [series.length - 2, series.length - 1], fill: `${line.colour}38` });
    }
  }
  return draw(box, {
    series, bands,
    scales: { x: scale(what.logX ?? false), y: scale(what.logY ?? false) },
    axes: [axis(what.xLabel, what.logX ?? false, false), axis(what.yLabel, what.logY ?? false, true)],
    legend: { show: false },
    cursor: { drag: { x: true, y: false }, points: { size: 7 } },
    plugins: [lineNote(what.lines, what.xLabel)],
  }, data, what.height ?? 340);
}

/** @param {(number | null)[]} values */
function positive(values) {
  return values.map((value) => (value !== null && value > 0 ? value : null));
}

/** @param {number | null} value */
function numberText(value) {
  return value === null || value === undefined ? "" : String(Number(value.toPrecision(4)));
}

/**
 * The note beside the pointer: the values of all lines at the nearest x.
 * @param {Line[]} lines
 * @param {string} xLabel
 */
function lineNote(lines, xLabel) {
  return pointerNote((plot, place) => {
    const x = plot.data[0][place];
    const found = lines.map((line) => ({ line, value: line.values[place] })).filter(({ value }) => value !== null && value !== undefined);
    if (found.length === 0) return [];
    return [`${xLabel} ${numberText(x)}`, ...found.slice(0, 12).map(({ line, value }) => `${line.label}: ${numberText(value)}`)];
  });
}

/**
 * @param {(plot: any, place: number) => string[]} texts
 */
export function pointerNote(texts) {
  /** @type {HTMLElement} */
  let box;
  return {
    hooks: {
      init: (/** @type {any} */ plot) => {
        box = document.createElement("div");
        box.className = "note";
        box.hidden = true;
        plot.over.append(box);
        plot.over.addEventListener("mouseleave", () => { box.hidden = true; });
      },
      setCursor: (/** @type {any} */ plot) => {
        const { left, top, idx } = plot.cursor;
        const lines = idx === null || idx === undefined || left < 0 ? [] : texts(plot, idx);
        placeNote(box, lines, left, top, plot.over.clientWidth);
      },
    },
  };
}

/**
 * @param {HTMLElement} box
 * @param {string[]} lines
 * @param {number} left
 * @param {number} top
 * @param {number} width
 */
function placeNote(box, lines, left, top, width) {
  box.hidden = lines.length === 0;
  box.replaceChildren(...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
  box.style.top = `${top + 12}px`;
  if (left < width / 2) Object.assign(box.style, { left: `${left + 12}px`, right: "auto" });
  else Object.assign(box.style, { left: "auto", right: `${width - left + 12}px` });
}
