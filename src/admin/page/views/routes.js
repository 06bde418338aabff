// Who would get a message that is published to a topic now.

import { badge, element, empty, field, foreign, form, hash, heading, link } from "../dom.js";
import { pagedList } from "../pages.js";

export function render({ parameters, signal }) {
  const { topic } = parameters;
  const search = form(
    { class: "filters", role: "search" },
    (values) => {
      location.hash = hash("routes", values);
    },
    field("Topic Name", { name: "topic", type: "search", value: topic, required: true, placeholder: "for example plant/7/state" }),
    element("button", { class: "primary" }, "Show"),
  );
  if (!topic) {
    return [heading("Who would get this"), search, empty("Type a Topic Name to see which clients would get a message of it, and through which filter or share.")];
  }
  const about = ({ retained }) => retained !== undefined && element("p", { class: "count" }, retained ? link("retained", { filter: topic }, "The topic has a retained message.") : "The topic has no retained message.");
  const list = pagedList({ path: "routes", key: "receivers", columns: COLUMNS, none: "Nobody would get it.", about, signal });
  list.show({ topic });
  return [heading("Who would get this"), search, list.element, element("p", { class: "help" }, "A client with several matching subscriptions gets one copy, at the highest QoS. Of a share, one member gets it.")];
}

const COLUMNS = [
  { title: "Client Identifier", class: "main", cell: ({ client_id }) => link(["clients", client_id], {}, foreign(client_id)) },
  { title: "State", cell: ({ connected }) => (connected ? badge("connected", "good") : badge("away")) },
  { title: "Access", cell: ({ access }) => badge(access, access === "allowed" ? "good" : "bad") },
  { title: "Topic Filter", cell: ({ filter }) => foreign(filter) },
  { title: "Share", cell: ({ share }) => share && foreign(share) },
  { title: "QoS", cell: ({ qos }) => qos },
];
