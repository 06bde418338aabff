// The retained messages as a tree of their topics.

import { change, get, may, needs } from "../api.js";
import { add, ask, button, element, empty, facts, failed, field, fill, foreign, form, hash, heading, link, loading, notify, visible } from "../dom.js";
import { bytes, count, fromBase64, hexadecimal, time } from "../format.js";

export function render({ parameters, signal, again }) {
  const place = element("div", { class: "split" });
  const search = form(
    { class: "filters", role: "search" },
    (values) => {
      location.hash = hash("retained", values);
    },
    field("Topic Filter", { name: "filter", type: "search", value: parameters.filter, placeholder: "#, or for example $SYS/#" }),
    element("button", { class: "primary" }, "Show"),
  );
  load(place, parameters.filter ?? "", signal, again);
  return [heading("Retained messages"), search, place];
}

async function load(place, filter, signal, again) {
  fill(place, loading());
  try {
    const { messages, isCut } = await fetchAll(filter, signal);
    if (messages.length === 0) {
      fill(place, empty(filter === "" ? "There are no retained messages." : "No retained message matches."));
      return;
    }
    const details = element("div", { class: "card details", tabindex: "-1" }, element("p", { class: "help" }, "Choose a message to see it."));
    const note = isCut
      ? `The first ${count(messages.length)} of more messages. Narrow them with a Topic Filter.`
      : `${count(messages.length)} message${messages.length === 1 ? "" : "s"}`;
    const show = (topic) => showMessage(details, topic, signal, again);
    fill(place, element("div", {}, element("p", { class: "count" }, note), branches(treeOf(messages), show, true)), details);
  } catch (error) {
    if (error.name !== "AbortError") {
      fill(place, failed(error, () => load(place, filter, signal, again)));
    }
  }
}

async function fetchAll(filter, signal) {
  const messages = [];
  let cursor;
  do {
    const answer = await get("retained", { filter, limit: 1_000, cursor }, signal);
    messages.push(...answer.retained);
    cursor = answer.cursor;
  } while (cursor !== null && messages.length < MESSAGES_MAX);
  return { messages, isCut: cursor !== null };
}

/// Nodes `{message, below, size}` by their level. `size` is the number of messages in and below it.
function treeOf(messages) {
  const root = { message: null, below: new Map(), size: 0 };
  for (const message of messages) {
    let node = root;
    for (const level of message.topic.split("/")) {
      if (!node.below.has(level)) {
        node.below.set(level, { message: null, below: new Map(), size: 0 });
      }
      node = node.below.get(level);
      node.size += 1;
    }
    node.message = message;
  }
  return root;
}

/// The levels below a node, some hundred at a time. What is below a level is made when it is opened.
function branches(node, show, open = false) {
  const list = element("ul", { class: "tree" });
  const levels = Array.from(node.below).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const extend = (from) => {
    add(list, levels.slice(from, from + LEVELS).map(([level, below]) => element("li", {}, branch(level, below, show, open && levels.length <= 4))));
    if (levels.length > from + LEVELS) {
      const more = element("li", {}, button(`${count(levels.length - from - LEVELS)} more`, () => {
        more.remove();
        extend(from + LEVELS);
      }));
      list.append(more);
    }
  };
  extend(0);
  return list;
}

function branch(level, node, show, open) {
  const name = level === "" ? element("i", {}, "(empty level)") : foreign(level);
  const message = node.message && button([name, " ", element("small", {}, bytes(node.message.size))], () => show(node.message.topic), { class: "leaf" });
  if (node.below.size === 0) {
    return message;
  }
  const details = element("details", {}, element("summary", {}, level === "" ? name.cloneNode(true) : foreign(level), " ", element("small", {}, count(node.size))));
  const unfold = () => {
    if (details.open && details.childElementCount === 1) {
      add(details, [message, branches(node, show, node.below.size === 1)]);
    }
  };
  details.addEventListener("toggle", unfold);
  details.open = open;
  unfold();
  return details;
}

async function showMessage(place, topic, signal, again) {
  fill(place, loading());
  try {
    const message = await get(["retained", topic], {}, signal);
    const remove = needs("operator", button("Delete …", () => askDelete(topic, again), { class: "danger" }));
    fill(
      place,
      element("h2", {}, foreign(topic)),
      facts([
        ["QoS", message.qos],
        ["Size", bytes(message.size)],
        ["Publisher", message.publisher === null ? "the broker or an operator" : link(["clients", message.publisher], {}, foreign(message.publisher))],
        ["Expires", message.expires_at ? time(message.expires_at) : "never"],
      ]),
      payloadOf(message),
      element("div", { class: "actions" }, link("routes", { topic }, "Who would get this"), remove),
    );
  } catch (error) {
    if (error.name !== "AbortError") {
      fill(place, failed(error));
    }
  }
  place.focus();
}

function payloadOf({ payload_base64, payload_text }) {
  if (!may("operator") || payload_base64 === null) {
    return element("p", { class: "help" }, "The payload is shown to operators.");
  }
  if (payload_base64 === "") {
    return element("p", { class: "help" }, "The payload is empty.");
  }
  const text = payload_text === null ? hexadecimal(fromBase64(payload_base64)) : visible(payload_text.slice(0, TEXT_MAX));
  return element("pre", { class: "payload" }, text);
}

function askDelete(topic, again) {
  ask(
    {
      title: "Delete the retained message",
      text: element("span", {}, "Subscribers of ", foreign(topic), " get an empty message, as when a client deletes it."),
      confirm: "Delete",
    },
    async () => {
      await change("DELETE", "retained", { filter: topic });
      notify(`The retained message of ${topic} was deleted.`);
      again();
    },
  );
}

/// Messages in the memory of the page.
const MESSAGES_MAX = 10_000;
/// Levels below a node that are in the document at first.
const LEVELS = 200;
/// Characters of a payload.
const TEXT_MAX = 20_000;
