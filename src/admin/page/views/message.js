// What became of one message.

import { get } from "../api.js";
import { element, empty, facts, failed, field, foreign, form, hash, heading, link, table, visible } from "../dom.js";
import { count, time } from "../format.js";

export async function render({ parameters, signal, again }) {
  const { id } = parameters;
  const search = form(
    { class: "filters", role: "search" },
    ({ id: wanted }) => {
      location.hash = hash("message", { id: wanted.trim() });
    },
    field("Message identity", { name: "id", type: "search", value: id, required: true, placeholder: "0000000000000001-0000000000000002" }),
    element("button", { class: "primary" }, "Show"),
  );
  const title = heading("A message's journey");
  if (!id) {
    return [title, search, empty(WHERE_FROM)];
  }
  try {
    return [title, search, journeyOf(await get(["messages", id], {}, signal))];
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    return [title, search, error.status === 404 ? empty(`Nothing is known about this message: ${visible(error.message)}.`) : failed(error, again)];
  }
}

function journeyOf({ message_id, topic, qos, publisher, received_at, stable_at, stored, matched, steps, receivers, left_out, complete, missing_cells }) {
  const wait = received_at && stable_at ? ` (${new Date(stable_at) - new Date(received_at)} ms later)` : "";
  const stable = stable_at ? `${time(stable_at)}${wait}` : stored === false ? "no durable session needs it" : null;
  return [
    element(
      "div",
      { class: "card" },
      facts([
        ["Identity", message_id],
        ["Topic", topic && link("routes", { topic }, foreign(topic))],
        ["QoS", qos],
        ["Publisher", publisher && link(["clients", publisher], {}, foreign(publisher))],
        ["Received", time(received_at)],
        ["Stable", stable],
        ["Sessions that it was for", count(matched)],
      ]),
    ),
    left_out > 0 && element("p", { class: "warning" }, `${count(left_out)} receivers are not listed, because there are too many.`),
    (missing_cells ?? []).map(({ cell, reason }) => element("p", { class: "warning" }, visible(`What cell ${cell} knows is missing: ${reason}`))),
    complete === false && element("p", { class: "warning" }, "Not everything that may tell more about it was looked through: there may be more receivers."),
    element("section", {}, element("h2", {}, "Steps"), steps?.length > 0 ? table(STEPS, steps) : empty("No step is recorded.")),
    element("section", {}, element("h2", {}, "Receivers"), receivers?.length > 0 ? table(RECEIVERS, receivers) : empty("No receiver is recorded.")),
  ];
}

const clientOf = ({ client_id }) => client_id !== null && link(["clients", client_id], {}, foreign(client_id));
const STEPS = [
  { title: "Time", class: "fixed", cell: ({ at }) => time(at) },
  { title: "Step", cell: ({ step, dup }) => (dup ? `${step} again (DUP)` : step) },
  { title: "Client Identifier", cell: clientOf },
  { title: "Reason", cell: ({ reason }) => reason },
];
const RECEIVERS = [
  { title: "Client Identifier", class: "main", cell: (receiver) => clientOf(receiver) || "its session ended" },
  { title: "State", cell: ({ state }) => state },
];
const WHERE_FROM =
  "Type the identity of a message. A publication over the API or the command line answers with it, and a subscriber gets it as the User Property message-id if its SUBSCRIBE has the User Property message-id = true, as the client of this page does.";
