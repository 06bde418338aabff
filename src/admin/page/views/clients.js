// All Sessions, a page at a time.

import { badge, choice, element, field, foreign, form, hash, heading, link } from "../dom.js";
import { bytes, count, time } from "../format.js";
import { pagedList } from "../pages.js";

export function render({ parameters, signal }) {
  const list = pagedList({ path: "clients", key: "clients", columns: COLUMNS, none: noneFor(parameters), signal });
  const search = form(
    { class: "filters", role: "search" },
    (values) => {
      location.hash = hash("clients", values);
    },
    field("Client Identifier", { name: "client_id", type: "search", value: parameters.client_id, placeholder: "part of it, or a pattern with * and ?" }),
    field("User", { name: "user", value: parameters.user }),
    field("Address", { name: "address", value: parameters.address, placeholder: "without port" }),
    choice("State", "connected", [["", "all"], ["true", "connected"], ["false", "away"]], parameters.connected ?? ""),
    element("button", { class: "primary" }, "Search"),
  );
  const { client_id, user, address, connected } = parameters;
  list.show({ client_id: patternOf(client_id), user, address, connected });
  return [heading("Clients"), search, list.element];
}

/// Text without wildcards is looked for anywhere in the Client Identifier.
export function patternOf(text) {
  return !text || /[*?]/.test(text) ? text : `*${text}*`;
}

function noneFor(parameters) {
  return Object.values(parameters).some((value) => value !== "")
    ? "No client matches."
    : "No client has a session here yet. It appears as soon as one connects.";
}

const COLUMNS = [
  { title: "Client Identifier", class: "main", cell: ({ client_id }) => link(["clients", client_id], {}, foreign(client_id)) },
  { title: "State", cell: ({ connected }) => (connected ? badge("connected", "good") : badge("away")) },
  { title: "User", cell: ({ user }) => user && foreign(user) },
  { title: "Address", class: "fixed", cell: ({ address }) => address },
  { title: "MQTT", cell: ({ version }) => version },
  { title: "Since", class: "fixed", cell: ({ connected_since }) => connected_since && time(connected_since).slice(0, 19) },
  { title: "Subscriptions", class: "number", cell: ({ subscriptions }) => count(subscriptions) },
  { title: "Queued", class: "number", cell: ({ queued_messages, queued_bytes }) => (queued_messages > 0 ? `${count(queued_messages)} (${bytes(queued_bytes)})` : "0") },
];
