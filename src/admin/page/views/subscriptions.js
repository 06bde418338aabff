// The subscriptions of all Sessions.

import { element, field, foreign, form, hash, heading, link } from "../dom.js";
import { yesNo } from "../format.js";
import { pagedList } from "../pages.js";
import { patternOf } from "./clients.js";

export function render({ parameters, signal }) {
  const isAsked = Boolean(parameters.filter || parameters.client_id);
  const none = isAsked ? "No subscription matches." : "No client is subscribed to anything.";
  const list = pagedList({ path: "subscriptions", key: "subscriptions", columns: COLUMNS, none, signal });
  const search = form(
    { class: "filters", role: "search" },
    (values) => {
      location.hash = hash("subscriptions", values);
    },
    field("Topic Filter", { name: "filter", type: "search", value: parameters.filter, placeholder: "exactly this one, for example plant/+/state" }),
    field("Client Identifier", { name: "client_id", value: parameters.client_id, placeholder: "part of it, or a pattern" }),
    element("button", { class: "primary" }, "Search"),
  );
  list.show({ filter: parameters.filter, client_id: patternOf(parameters.client_id) });
  return [heading("Subscriptions"), search, list.element];
}

const COLUMNS = [
  { title: "Topic Filter", class: "main", cell: ({ filter }) => foreign(filter) },
  { title: "Client Identifier", cell: ({ client_id }) => link(["clients", client_id], {}, foreign(client_id)) },
  { title: "Share", cell: ({ share }) => share && foreign(share) },
  { title: "QoS", cell: ({ qos }) => qos },
  { title: "Identifier", cell: ({ id }) => id },
  { title: "No Local", cell: ({ no_local }) => yesNo(no_local) },
  { title: "Retain As Published", cell: ({ retain_as_published }) => yesNo(retain_as_published) },
];
