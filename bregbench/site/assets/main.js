// The page: its views, the way between them, light and dark.

import { h } from "./dom.js";
import { cellsView } from "./cells.js";
import { curvesView } from "./curves.js";
import { readData } from "./data.js";
import { figuresView } from "./figures.js";
import { frontierView } from "./frontier.js";
import { refreshPlots } from "./plot.js";
import { scoreboardView } from "./scoreboard.js";
import { readState } from "./state.js";

/** @type {Record<string, [string, (data: any, state: any) => HTMLElement]>} */
const VIEWS = {
  scoreboard: ["Scoreboard", scoreboardView],
  cells: ["Numbers", cellsView],
  frontier: ["Frontier", frontierView],
  curves: ["Curves", curvesView],
  figures: ["Figures", figuresView],
};

/** @param {string} current */
function links(current) {
  return Object.entries(VIEWS).map(([name, [text]]) => h("a", { href: `#view=${name}`, "aria-current": name === current ? "page" : null }, text));
}

/**
 * @param {import("./data.js").Data} data
 * @param {boolean} first
 */
function render(data, first) {
  const state = readState();
  if (!("view" in state) && location.hash === "#content") { document.getElementById("content")?.focus(); return; }
  const name = state.view in VIEWS ? state.view : "scoreboard";
  const main = /** @type {HTMLElement} */ (document.getElementById("content"));
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("detail"));
  if (dialog.open) dialog.close();
  const [text, view] = VIEWS[name];
  document.querySelector("nav")?.replaceChildren(...links(name));
  document.title = `bregbench: ${text.toLowerCase()}`;
  const before = document.activeElement?.closest("main") ? /** @type {HTMLElement} */ (document.activeElement).dataset.paper : "";
  main.replaceChildren(view(data, state));
  main.dataset.view = name;
  const again = before ? main.querySelector(`[data-paper="${before}"]`) : null;
  if (again) /** @type {HTMLElement} */ (again).focus();
  else if (!first) main.focus({ preventScroll: true });
  if (!again && !first) scrollTo(0, 0);
}

/** The theme of the machine, until the switch says otherwise. */
function startTheme() {
  const button = /** @type {HTMLButtonElement} */ (document.getElementById("theme"));
  const root = document.documentElement;
  const machine = matchMedia("(prefers-color-scheme: dark)");
  const apply = (/** @type {string} */ theme) => {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
    refreshPlots();
  };
  apply(machine.matches ? "dark" : "light");
  machine.addEventListener("change", () => apply(machine.matches ? "dark" : "light"));
  button.addEventListener("click", () => apply(root.dataset.theme === "dark" ? "light" : "dark"));
}

startTheme();
readData().then((data) => {
  render(data, true);
  addEventListener("hashchange", () => render(data, false));
  addEventListener("resize", refreshPlots);
  document.documentElement.dataset.ready = "1";
});
