// What is shown, kept in the address behind #, so that a view can be shared and the Back button works.

/** @typedef {Record<string, string>} State */

/** @returns {State} */
export function readState() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/**
 * The address of a state; values that are empty are left out.
 * @param {State} state
 */
export function addressOf(state) {
  const kept = Object.entries(state).filter(([, value]) => value !== "" && value !== undefined);
  return `#${new URLSearchParams(kept)}`;
}

/**
 * Go to another view, which the Back button undoes.
 * @param {State} state
 */
export function go(state) {
  location.hash = addressOf(state);
}

/**
 * Note a change within a view, such as a letter of a search, without a step of the history.
 * @param {State} change
 */
export function noteState(change) {
  history.replaceState(null, "", addressOf({ ...readState(), ...change }));
}
