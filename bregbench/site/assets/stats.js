// The statistics of the tables: means, t-intervals, paired differences, Pareto fronts.

/** @param {number[]} values */
export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * Sample standard deviation; null for a single value.
 * @param {number[]} values
 */
export function deviation(values) {
  if (values.length < 2) return null;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

/**
 * The 97.5 % quantile of Student's t, for degrees of freedom rounded down.
 * @param {number[]} quantiles for 1, 2, ... degrees of freedom
 * @param {number} freedom
 */
export function quantile(quantiles, freedom) {
  return quantiles[Math.min(Math.max(1, Math.floor(freedom)), quantiles.length) - 1];
}

/**
 * The two-sided 95 % t-interval of the difference of two means: of the paired differences where two seeds or
 * more are common, else by Welch's formula, else null.
 * @param {Point} a
 * @param {Point} b
 * @param {number[]} quantiles
 * @returns {{low: number, high: number, how: string} | null}
 */
export function differenceInterval(a, b, quantiles) {
  const pairs = a.seeds.map((seed, k) => [a.y[k], b.y[b.seeds.indexOf(seed)]]).filter(([, other]) => other !== undefined);
  if (pairs.length >= 2) {
    const differences = pairs.map(([one, other]) => one - other);
    const half = (quantile(quantiles, pairs.length - 1) * (deviation(differences) ?? 0)) / Math.sqrt(pairs.length);
    const centre = mean(differences);
    return { low: centre - half, high: centre + half, how: `paired over ${pairs.length} seeds` };
  }
  if (a.n < 2 || b.n < 2 || a.sd === null || b.sd === null) return null;
  const [u, v] = [a.sd ** 2 / a.n, b.sd ** 2 / b.n];
  const freedom = (u + v) ** 2 / (u ** 2 / (a.n - 1) + v ** 2 / (b.n - 1) || 1e-300);
  const half = quantile(quantiles, freedom) * Math.sqrt(u + v);
  return { low: a.my - b.my - half, high: a.my - b.my + half, how: `Welch, ${a.n} and ${b.n} seeds` };
}

/**
 * The points that no other point beats on both axes, from left to right.
 * @param {Point[]} points
 * @param {boolean} lowX whether less is better on the x axis
 * @param {boolean} lowY
 * @returns {Point[]}
 */
export function paretoFront(points, lowX, lowY) {
  const [signX, signY] = [lowX ? 1 : -1, lowY ? 1 : -1];
  const sorted = [...points].sort((a, b) => signX * (a.mx - b.mx) || signY * (a.my - b.my));
  let best = Infinity;
  const front = sorted.filter((point) => {
    const better = signY * point.my < best;
    if (better) best = signY * point.my;
    return better;
  });
  return front.sort((a, b) => a.mx - b.mx);
}

/**
 * Whether less of a metric is better; null where neither direction is.
 * @param {string} metric
 */
export function lowerIsBetter(metric) {
  return !/accuracy|psnr|ssim|resolution|conversion|speedup|robust|pgd|fgsm|fit$/.test(metric) || /loss|seconds/.test(metric);
}

/**
 * @typedef {object} Point
 * @property {string} label
 * @property {string} table
 * @property {string} record
 * @property {string} data
 * @property {string} method
 * @property {string} variant
 * @property {number[]} seeds
 * @property {number[]} x one per seed
 * @property {number[]} y
 * @property {number} mx
 * @property {number} my
 * @property {number} n
 * @property {number | null} sd of y
 */
