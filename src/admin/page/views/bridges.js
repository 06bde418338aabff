// Bridges and sinks: whether they are connected, what they have passed on, and what fails.

import { get } from "../api.js";
import { badge, element, empty, facts, foreign, heading, link, table, visible } from "../dom.js";
import { bytes, count, duration, time } from "../format.js";

export async function render({ rest, signal }) {
  const [kind, ...name] = rest;
  if (kind === "bridge" || kind === "sink") {
    return one(kind, name.join("/"), signal);
  }
  const [{ bridges }, { sinks }] = await Promise.all([get("bridges", {}, signal), get("sinks", {}, signal)]);
  return [
    heading("Bridges and sinks"),
    section("Bridges", bridges.length > 0 ? table(BRIDGES, bridges) : empty("The configuration has no bridges.")),
    section("Sinks", sinks.length > 0 ? table(SINKS, sinks) : empty("The configuration has no sinks.")),
  ];
}

async function one(kind, name, signal) {
  const entry = await get([`${kind}s`, name], {}, signal);
  const title = heading("", link(["clients", entry.client_id], {}, "Session and queue"));
  title.querySelector("h1").append(`${kind === "bridge" ? "Bridge" : "Sink"} `, foreign(name));
  const cards = kind === "bridge" ? bridgeOf(entry) : sinkOf(entry);
  return [
    element("p", { class: "back" }, link("bridges", {}, "← Bridges and sinks")),
    title,
    element("div", { class: "columns" }, cards, card("Queue", queueOf(entry.queue))),
    section("Settings", element("pre", {}, visible(JSON.stringify(entry.configuration, null, 2)))),
  ];
}

function bridgeOf(bridge) {
  const { out, in: inward, dropped, refused, sessions_lost: lost } = bridge;
  return [
    card("Connection", [
      ["State", stateOfBridge(bridge)],
      ["Since", time(bridge.since)],
      ["Address", bridge.address && foreign(bridge.address)],
      ["Last error", bridge.last_error && foreign(bridge.last_error)],
      ["Error at", bridge.last_error_at && time(bridge.last_error_at)],
      ["Connects", count(bridge.connects)],
      ["Failed attempts", count(bridge.failures)],
      ["Subscriptions refused", count(bridge.subscriptions_refused)],
    ]),
    card("Messages since the start", [
      ["To the other broker", `${count(out.messages)}, ${bytes(out.bytes)}`],
      ["From the other broker", `${count(inward.messages)}, ${bytes(inward.bytes)}`],
      ["Not passed on", reasons(dropped)],
      ["Refused by this broker", count(refused.here)],
      ["Refused by the other broker", count(refused.there)],
      ["Session lost here", count(lost.here)],
      ["Session lost there", count(lost.there)],
    ]),
  ];
}

function sinkOf(sink) {
  const { requests } = sink;
  return [
    card("State", [
      ["State", stateOfSink(sink)],
      ["Endpoint", sink.endpoint && foreign(sink.endpoint)],
      ["Failing since", sink.failing_since && time(sink.failing_since)],
      ["Last error", sink.last_error && foreign(sink.last_error)],
      ["Can't run because", sink.unavailable && foreign(sink.unavailable)],
      ["Refused subscription", sink.subscription_refused && foreign(sink.subscription_refused)],
      ["Last status", sink.last_status],
      ["Last success", sink.last_success && time(sink.last_success)],
    ]),
    card("Messages since the start", [
      ["Delivered", count(sink.delivered_messages)],
      ["Dead letters", count(sink.dead_letters)],
      ["Dropped", count(sink.dropped_messages)],
      ["Held", count(sink.held_messages)],
      ["Requests with success", count(requests.delivered)],
      ["Requests refused", count(requests.refused)],
      ["Requests without an answer", count(requests.unanswered)],
      ["Requests sent again", count(requests.retries)],
      ["Requests under way", count(requests.under_way)],
    ]),
  ];
}

function queueOf(queue) {
  return queue === null
    ? [["Messages", "not known at present"]]
    : [
        ["Messages", count(queue.messages)],
        ["Size", bytes(queue.bytes)],
        ["In use", `${Math.round(100 * queue.used)} %`],
        ["Dropped from it", reasons(queue.dropped)],
      ];
}

function reasons(counts) {
  const some = Object.entries(counts).filter(([, number]) => number > 0);
  return some.length === 0 ? "0" : some.map(([reason, number]) => element("div", {}, `${reason}: ${count(number)}`));
}

function section(title, content) {
  return element("section", {}, element("h2", {}, title), content);
}

function card(title, pairs) {
  return element("div", { class: "card" }, element("h2", {}, title), facts(pairs));
}

function stateOfBridge({ state, subscriptions_refused: refused }) {
  const kind = { connected: "good", connecting: "bad", stopped: "bad" }[state] ?? "";
  return [badge(state === "connecting" ? "not connected" : state, kind), refused > 0 && [" ", badge("subscription refused", "warn")]];
}

function stateOfSink({ state, subscription_refused: refused }) {
  const kind = { well: "good", failing: "bad", stopped: "bad" }[state] ?? "";
  return [badge(state, kind), refused !== null && [" ", badge("subscription refused", "warn")]];
}

const dropsOf = ({ dropped, queue }) => sum(dropped) + sum(queue?.dropped ?? {});
const sum = (counts) => Object.values(counts).reduce((all, number) => all + number, 0);
const ago = (text) => text && `${duration(Math.max(0, (Date.now() - new Date(text)) / 1_000))}`;
const queued = { title: "Queued", class: "number", cell: ({ queue }) => queue && count(queue.messages) };
const failure = { title: "Last error", cell: ({ last_error }) => last_error && foreign(last_error) };

const BRIDGES = [
  { title: "Name", class: "main", cell: ({ name }) => link(["bridges", "bridge", name], {}, foreign(name)) },
  { title: "State", cell: stateOfBridge },
  { title: "For", class: "fixed", cell: ({ since }) => ago(since) },
  { title: "Address", cell: ({ address }) => address && foreign(address) },
  { title: "Out", class: "number", cell: ({ out }) => count(out.messages) },
  { title: "In", class: "number", cell: ({ in: inward }) => count(inward.messages) },
  { title: "Dropped", class: "number", cell: (bridge) => count(dropsOf(bridge)) },
  queued,
  failure,
];
const SINKS = [
  { title: "Name", class: "main", cell: ({ name }) => link(["bridges", "sink", name], {}, foreign(name)) },
  { title: "State", cell: stateOfSink },
  { title: "For", class: "fixed", cell: ({ failing_since, connected_since }) => ago(failing_since ?? connected_since) },
  { title: "Endpoint", cell: ({ endpoint }) => endpoint && foreign(endpoint) },
  { title: "Delivered", class: "number", cell: ({ delivered_messages }) => count(delivered_messages) },
  { title: "Sent again", class: "number", cell: ({ requests }) => count(requests.retries) },
  { title: "Dead letters", class: "number", cell: ({ dead_letters }) => count(dead_letters) },
  { title: "Dropped", class: "number", cell: ({ dropped_messages, queue }) => count(dropped_messages + sum(queue?.dropped ?? {})) },
  queued,
  failure,
];
