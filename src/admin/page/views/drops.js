// Which messages were dropped, the newest first.

import { element, foreign, heading, link } from "../dom.js";
import { count, time } from "../format.js";
import { pagedList } from "../pages.js";

export function render({ signal }) {
  const none = "No message was dropped since the start of the broker.";
  const list = pagedList({ path: "drops", key: "drops", columns: COLUMNS, none, newest: true, about: leftOut, signal });
  list.show();
  return [heading("Drops"), element("p", { class: "help" }, "Messages that a client did not get, and why: about the last thousand of each shard."), list.element];
}

/// What the list lacks.
export function leftOut({ left_out }) {
  return left_out > 0 && element("p", { class: "warning" }, `${count(left_out)} more are not listed, because there were too many within a second.`);
}

const COLUMNS = [
  { title: "Time", class: "fixed", cell: ({ at }) => time(at) },
  { title: "Reason", cell: ({ reason }) => reason },
  { title: "Messages", class: "number", cell: ({ count: number }) => count(number) },
  { title: "Client Identifier", cell: ({ client_id }) => link(["clients", client_id], {}, foreign(client_id)) },
  { title: "Topic", cell: ({ topic }) => topic && foreign(topic) },
  { title: "QoS", cell: ({ qos }) => qos },
];
