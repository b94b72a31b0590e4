// Points: groups in colours, a front through some of them, and the nearest one under the pointer.

import { axis, colour, draw, pointerNote, scale } from "./plot.js";

/** @typedef {import("./stats.js").Point} Point */

/**
 * Points of several groups, a front through some of them, and the nearest one under the pointer.
 * @param {HTMLElement} box
 * @param {{groups: {label: string, colour: string, points: Point[]}[], front: Point[], pinned: Point[], xLabel: string, yLabel: string, logX: boolean, logY: boolean, texts: (point: Point) => string[], click: (point: Point) => void, height?: number}} what
 */
export function scatterPlot(box, what) {
  const drawn = what.groups.flatMap(({ points, colour: shade }) => points.map((point) => ({ point, shade })));
  drawn.sort((a, b) => a.point.mx - b.point.mx);
  const data = [drawn.map(({ point }) => point.mx), drawn.map(({ point }) => point.my)];
  /** @type {number | null} */
  let near = null;
  const plot = draw(box, {
    series: [{}, { paths: () => null, points: { show: false } }],
    scales: { x: scale(what.logX), y: scale(what.logY) },
    axes: [axis(what.xLabel, what.logX, false), axis(what.yLabel, what.logY, true)],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false }, x: false, y: false },
    hooks: {
      draw: [(/** @type {any} */ self) => drawPoints(self, drawn, what, near)],
    },
    plugins: [pointerNote((self) => {
      const found = nearest(self, drawn.map(({ point }) => point));
      if (found !== near) { near = found; self.redraw(false); }
      return found === null ? [] : what.texts(drawn[found].point);
    })],
  }, data, what.height ?? 440);
  plot.over.addEventListener("click", () => { if (near !== null) what.click(drawn[near].point); });
  return plot;
}

/**
 * @param {any} plot
 * @param {Point[]} points
 */
function nearest(plot, points) {
  const { left, top } = plot.cursor;
  let [found, least] = [/** @type {number | null} */ (null), 18 ** 2];
  points.forEach((point, k) => {
    const distance = (plot.valToPos(point.mx, "x") - left) ** 2 + (plot.valToPos(point.my, "y") - top) ** 2;
    if (distance < least) [found, least] = [k, distance];
  });
  return found;
}

/**
 * @param {any} plot
 * @param {{point: Point, shade: string}[]} drawn
 * @param {any} what
 * @param {number | null} near
 */
function drawPoints(plot, drawn, what, near) {
  const { ctx } = plot;
  const unit = devicePixelRatio;
  const at = (/** @type {Point} */ point) => /** @type {[number, number]} */ ([plot.valToPos(point.mx, "x", true), plot.valToPos(point.my, "y", true)]);
  ctx.save();
  ctx.beginPath();
  ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
  ctx.clip();
  ctx.strokeStyle = colour("--muted");
  ctx.lineWidth = 1.5 * unit;
  ctx.setLineDash([5 * unit, 4 * unit]);
  ctx.beginPath();
  what.front.forEach((/** @type {Point} */ point, /** @type {number} */ k) => (k ? ctx.lineTo(...at(point)) : ctx.moveTo(...at(point))));
  ctx.stroke();
  ctx.setLineDash([]);
  drawn.forEach(({ point, shade }, k) => {
    const pinned = what.pinned.includes(point);
    ctx.beginPath();
    ctx.arc(...at(point), (k === near || pinned ? 8 : 5) * unit, 0, 2 * Math.PI);
    ctx.fillStyle = `${shade}cc`;
    ctx.fill();
    ctx.lineWidth = (pinned ? 3 : 1) * unit;
    ctx.strokeStyle = pinned ? colour("--text") : shade;
    ctx.stroke();
  });
  ctx.restore();
}
