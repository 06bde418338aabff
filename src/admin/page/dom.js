// Makes elements. What clients choose gets into the page as text alone: nothing here takes markup.

/// An element with attributes and children. A function is a listener (`onclick`); `true` is an attribute without value; null, undefined and
/// false are left out. Children that are not nodes become text.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) {
      continue;
    }
    if (typeof value === "function") {
      made.addEventListener(key.slice(2), value);
    } else {
      made.setAttribute(key, value === true ? "" : String(value));
    }
  }
  add(made, children);
  return made;
}

/// Appends children, also those in lists, and leaves out null, undefined and false.
export function add(parent, children) {
  for (const child of [children].flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }
  return parent;
}

/// Replaces all children.
export function fill(parent, ...children) {
  parent.replaceChildren();
  return add(parent, children);
}

/// A name, topic or text that somebody else chose. It can't change the direction of the text around it, what can't be seen is written out, and a
/// long one is cut.
export function foreign(text, attributes = {}) {
  const whole = String(text);
  const rest = whole.length > FOREIGN_MAX ? `… ${whole.length - FOREIGN_MAX} more characters` : "";
  return element("bdi", { class: "foreign", ...attributes }, visible(whole.slice(0, FOREIGN_MAX)) + rest);
}

/// Control characters and those that hide or turn text around, as \u{…}.
export function visible(text) {
  return String(text).replace(INVISIBLE, (character) => `\\u{${character.codePointAt(0).toString(16).toUpperCase()}}`);
}

/// A link to a view: `link("routes", {topic}, …)`. Arguments of the path come after the name: `link(["clients", id])`.
export function link(place, parameters, ...children) {
  return element("a", { href: hash(place, parameters) }, children);
}

export function hash(place, parameters = {}) {
  const path = [place].flat().map(encodeURIComponent).join("/");
  const query = new URLSearchParams(Object.entries(parameters ?? {}).filter(([, value]) => value !== "" && value != null));
  return `#/${path}${query.size > 0 ? `?${query}` : ""}`;
}

/// A heading with what can be done about the view.
export function heading(text, ...actions) {
  return element("div", { class: "heading" }, element("h1", {}, text), element("div", { class: "actions" }, actions));
}

export function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

/// A field with its label. `attributes` are those of the input.
export function field(label, attributes) {
  return element("label", {}, label, element("input", { autocomplete: "off", spellcheck: "false", ...attributes }));
}

/// A list to choose from: pairs of value and text.
export function choice(label, name, options, chosen) {
  const made = options.map(([value, text]) => element("option", { value, selected: value === chosen }, text));
  return element("label", {}, label, element("select", { name }, made));
}

export function checkbox(label, attributes) {
  return element("label", { class: "check" }, element("input", { type: "checkbox", ...attributes }), label);
}

/// A form that is never sent. `onsubmit` gets its values by name.
export function form(attributes, onsubmit, ...children) {
  const listener = (event) => {
    event.preventDefault();
    onsubmit(Object.fromEntries(new FormData(event.currentTarget)), event.currentTarget);
  };
  return element("form", { ...attributes, onsubmit: listener }, children);
}

function orDash(content) {
  return content === null || content === undefined || content === false || content === "" ? "–" : content;
}

/// Pairs of a name and a value.
export function facts(pairs) {
  const rows = pairs.filter((pair) => pair).map(([name, value]) => {
    return element("div", {}, element("dt", {}, name), add(element("dd"), [orDash(value)]));
  });
  return element("dl", { class: "facts" }, rows);
}

/// A table. Columns are `{title, cell, class}`; `cell` makes the content of a row's cell. On a phone, each row is a card.
export function table(columns, rows, caption) {
  const head = columns.map(({ title, class: name }) => element("th", { scope: "col", class: name }, title));
  const body = rows.map((row) => {
    const cells = columns.map(({ title, cell, class: name }) => {
      // One element in each cell, which a phone puts beside the title.
      return element("td", { class: name, "data-title": title }, add(element("div"), [orDash(cell(row))]));
    });
    return element("tr", {}, cells);
  });
  return element(
    "div",
    { class: "table" },
    element(
      "table",
      {},
      caption && element("caption", {}, caption),
      element("thead", {}, element("tr", {}, head)),
      element("tbody", {}, body),
    ),
  );
}

/// What stands where there is nothing to show.
export function empty(text, ...more) {
  return element("div", { class: "empty" }, element("p", {}, text), more);
}

/// What stands where a request failed.
export function failed(error, retry) {
  return element(
    "div",
    { class: "failed", role: "alert" },
    element("p", {}, visible(error.message)),
    retry && button("Try again", retry),
  );
}

export function loading() {
  return element("p", { class: "loading", role: "status" }, "Loading …");
}

export function badge(text, kind = "") {
  return element("span", { class: `badge ${kind}` }, text);
}

/// Asks before something is done. `act` gets the values of the form; the dialog stays open with the reason if it fails.
export function ask({ title, text, fields = [], confirm, danger = true }, act) {
  const reason = element("p", { class: "error", role: "alert" });
  const submit = element("button", { class: danger ? "danger" : "primary" }, confirm);
  const dialog = element("dialog", { "aria-label": title });
  const content = form({}, async (values) => {
    submit.disabled = true;
    reason.textContent = "";
    try {
      await act(values);
      dialog.close();
    } catch (error) {
      reason.textContent = visible(error.message);
    }
    submit.disabled = false;
  });
  const cancel = button("Cancel", () => dialog.close());
  add(content, [element("h2", {}, title), element("p", {}, text), fields, reason]);
  add(content, element("div", { class: "actions" }, cancel, submit));
  add(dialog, content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/// Returns what puts an item, made by `make`, before all others in `place`. The document changes a few times a second, however many come, and
/// has at most `most` of them.
export function newestFirst(place, most, make) {
  let waiting = [];
  let timer = null;
  const draw = () => {
    timer = null;
    place.querySelector(":scope > .empty")?.remove();
    place.prepend(...waiting.reverse().map(make));
    waiting = [];
    while (place.childElementCount > most) {
      place.lastElementChild.remove();
    }
  };
  return (item) => {
    waiting.push(item);
    if (waiting.length > most) {
      waiting.shift();
    }
    timer ??= setTimeout(draw, DRAW_MS);
  };
}

/// A short message at the edge of the page, which goes by itself.
export function notify(text) {
  const note = element("div", { class: "note", role: "status" }, visible(text.slice(0, FOREIGN_MAX)));
  document.body.append(note);
  setTimeout(() => note.remove(), NOTE_MS);
}

const DRAW_MS = 200;
const NOTE_MS = 5_000;
/// Characters of a name or topic, which may have 65,535.
const FOREIGN_MAX = 300;
// Controls, format characters (direction, joiners), line separators, and code units that are no character. A line feed and a tab stay.
const INVISIBLE = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
