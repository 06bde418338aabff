// A list of the API, a page at a time: however many entries there are, one page of them is in the document.

import { get } from "./api.js";
import { add, button, element, empty, failed, fill, loading, table, visible } from "./dom.js";
import { count } from "./format.js";

/// An element that shows a list. `load` makes the parameters of the request, without limit and cursor. `show(parameters)` begins anew.
///
/// `path`: the list's; `key`: the field of its entries; `columns`: as for `table`; `none`: what to say if it is empty; `newest`: whether the
/// newest entry is the last one of a page, so that rows are turned around; `about(answer)`: something above the table.
export function pagedList({ path, key, columns, none, newest = false, about = () => null, signal }) {
  const place = element("div", { class: "list" });
  const status = element("span", { class: "count", role: "status" });
  const previous = button("Previous", () => go(-1), { class: "previous" });
  const next = button("Next", () => go(1), { class: "next" });
  const controls = element("div", { class: "pages" }, status, element("span", { class: "spacer" }), previous, next);
  // The cursors of the pages up to this one, and the number of entries before this page.
  let state = { parameters: {}, cursors: [null], before: [0], following: null, rows: 0 };
  let running = null;

  async function load() {
    running?.abort();
    running = new AbortController();
    const mine = running;
    signal?.addEventListener("abort", () => mine.abort(), { once: true });
    place.setAttribute("aria-busy", "true");
    if (!place.hasChildNodes()) {
      fill(place, loading());
    }
    try {
      const { rows, cursor, answer, missing } = await fetchPage(state.cursors.at(-1), mine.signal);
      state.following = cursor;
      state.rows = rows.length;
      draw(newest ? rows.toReversed() : rows, answer, missing);
    } catch (error) {
      if (error.name === "AbortError") {
        return;
      }
      fill(place, failed(error, load));
    }
    place.removeAttribute("aria-busy");
  }

  // A page of the API may be empty although more follow, when few entries match.
  async function fetchPage(from, aborted) {
    let cursor = from;
    const rows = [];
    const missing = [];
    for (let asked = 0; asked < REQUESTS_MAX; asked += 1) {
      const parameters = { ...state.parameters, limit: PAGE - rows.length, cursor };
      const answer = await get(path, parameters, aborted);
      rows.push(...answer[key]);
      missing.push(...(answer.missing_cells ?? []));
      cursor = answer.cursor;
      if (cursor === null || rows.length >= PAGE) {
        return { rows, cursor, answer, missing };
      }
    }
    return { rows, cursor, answer: {}, missing };
  }

  function draw(rows, answer, missing) {
    const before = state.before.at(-1);
    const nothing = state.following === null ? none : "Nothing matches so far. The search goes on with the next page.";
    status.textContent = rows.length === 0 ? "" : `${count(before + 1)} to ${count(before + rows.length)}`;
    previous.disabled = state.cursors.length === 1;
    next.disabled = state.following === null;
    const warnings = missing.map(({ cell, reason }) => element("p", { class: "warning" }, visible(`What cell ${cell} has is missing: ${reason}`)));
    fill(place, about(answer), warnings, rows.length > 0 ? table(columns, rows) : empty(nothing));
    if (!(previous.disabled && next.disabled)) {
      add(place, controls);
    } else if (rows.length > 0) {
      add(place, element("p", { class: "count" }, `${count(rows.length)} in all`));
    }
  }

  function go(step) {
    if (step < 0) {
      state.cursors.pop();
      state.before.pop();
    } else {
      state.cursors.push(state.following);
      state.before.push(state.before.at(-1) + state.rows);
    }
    load().then(() => place.scrollIntoView({ block: "nearest" }));
  }

  return {
    element: place,
    show(parameters = {}) {
      state = { parameters, cursors: [null], before: [0], following: null, rows: 0 };
      return load();
    },
    refresh: load,
  };
}

/// Entries of a page.
const PAGE = 100;
/// Requests for one page of a list of which few entries match.
const REQUESTS_MAX = 20;
