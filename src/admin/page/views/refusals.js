// Who was refused, the newest first.

import { element, foreign, heading, link } from "../dom.js";
import { reasonCode, time } from "../format.js";
import { pagedList } from "../pages.js";
import { leftOut } from "./drops.js";

export function render({ signal }) {
  const none = "Nothing was refused since the start of the broker.";
  const list = pagedList({ path: "refusals", key: "refusals", columns: COLUMNS, none, newest: true, about: leftOut, signal });
  list.show();
  return [heading("Refusals"), element("p", { class: "help" }, "Refused CONNECT, PUBLISH and SUBSCRIBE packets: about the last thousand of each shard."), list.element];
}

const COLUMNS = [
  { title: "Time", class: "fixed", cell: ({ at }) => time(at) },
  { title: "What", cell: ({ kind }) => kind },
  { title: "Client Identifier", cell: ({ client_id }) => client_id !== null && client_id !== "" && link(["clients", client_id], {}, foreign(client_id)) },
  { title: "User", cell: ({ user }) => user && foreign(user) },
  { title: "Address", class: "fixed", cell: ({ address }) => address },
  { title: "Reason", cell: ({ reason_code, reason }) => [reasonCode(reason_code), " ", foreign(reason)] },
  { title: "Topic", cell: ({ topic }) => topic && foreign(topic) },
  { title: "Rule", cell: ({ rule }) => rule && foreign(rule) },
];
