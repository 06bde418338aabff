// Streams: what they keep, and how far the groups of their subscribers are.

import { change, get, needs } from "../api.js";
import { ask, badge, button, element, empty, facts, field, foreign, heading, link, notify, table } from "../dom.js";
import { bytes, count } from "../format.js";

export async function render({ rest, signal, again }) {
  if (rest.length > 0) {
    return one(rest.join("/"), signal, again);
  }
  const { streams } = await get("streams", {}, signal);
  return [heading("Streams"), streams.length > 0 ? table(STREAMS, streams) : empty("The broker has no streams.")];
}

async function one(name, signal, again) {
  const [stream, { groups }] = await Promise.all([get(["streams", name], {}, signal), get(["streams", name, "groups"], {}, signal)]);
  const title = heading("");
  title.querySelector("h1").append("Stream ", foreign(name));
  const reset = { title: "", cell: (group) => needs("admin", button("Set the position …", () => askReset(name, group, again))) };
  return [
    element("p", { class: "back" }, link("streams", {}, "← Streams")),
    title,
    element("div", { class: "card" }, element("h2", {}, "Kept"), facts([
      ["Topics", foreign(stream.topic)],
      ["State", stateOf(stream)],
      ["Oldest message", count(stream.oldest)],
      ["Next message", count(stream.next)],
      ["Messages", count(stream.messages)],
      ["Size", bytes(stream.bytes)],
    ])),
    element("section", {}, element("h2", {}, "Groups"), groups.length > 0 ? table([...GROUPS, reset], groups) : empty("No group of subscribers has a position in it.")),
  ];
}

function askReset(stream, group, again) {
  ask(
    {
      title: `Set the position of ${group.name}`,
      text: "What its members have not acknowledged is not awaited any more.",
      fields: [field("Go on with", { name: "to", required: true, placeholder: "earliest, latest, seq:5000, 2026-01-31T12:00:00Z" })],
      confirm: "Set",
    },
    async ({ to }) => {
      const filter = group.filter === null ? {} : { filter: group.filter };
      await change("POST", ["streams", stream, "groups", group.name, "reset"], filter, { to });
      notify(`${group.name} goes on with ${to}.`);
      again();
    },
  );
}

const stateOf = ({ open }) => (open ? badge("open", "good") : badge("not configured any more", "warn"));

const STREAMS = [
  { title: "Name", class: "main", cell: ({ name }) => link(["streams", name], {}, foreign(name)) },
  { title: "Topics", cell: ({ topic }) => foreign(topic) },
  { title: "State", cell: stateOf },
  { title: "Oldest", class: "number", cell: ({ oldest }) => count(oldest) },
  { title: "Next", class: "number", cell: ({ next }) => count(next) },
  { title: "Messages", class: "number", cell: ({ messages }) => count(messages) },
  { title: "Size", class: "number", cell: ({ bytes: size }) => bytes(size) },
];
const GROUPS = [
  { title: "Name", class: "main", cell: ({ name }) => foreign(name) },
  { title: "Filter", cell: ({ filter }) => (filter === null ? "all" : foreign(filter)) },
  { title: "Position", class: "number", cell: ({ position }) => position !== null && count(position) },
  { title: "Not acknowledged", class: "number", cell: ({ lag }) => count(lag) },
  { title: "Members", class: "number", cell: ({ members }) => count(members) },
  { title: "Under way", class: "number", cell: ({ in_flight: sent }) => count(sent) },
];
