// The broker as a whole, with graphs of the last ten minutes.

import { BINARY, chart } from "../charts.js";
import { SHARE, latencies, latest, listen, samples } from "../collector.js";
import { element, facts, failed, fill, foreign, heading, link, table, visible } from "../dom.js";
import { bytes, count, duration, figure, latency, rate, time } from "../format.js";

export function render({ signal }) {
  const warnings = element("div", { class: "warnings" });
  const tiles = TILES.map(tileOf);
  const about = element("div", { class: "card" });
  const nodes = element("section");
  const charts = [
    chart("Messages", [{ label: "received", key: "received" }, { label: "sent", key: "sent" }], rate, signal),
    chart("Data", [{ label: "received", key: "bytesReceived" }, { label: "sent", key: "bytesSent" }], bytesRate, signal, BINARY),
    chart("Store", [{ label: "commits", key: "commits" }, { label: "syncs", key: "syncs" }], rate, signal),
    chart("Memory", [{ label: "resident", key: "memory" }], bytes, signal, BINARY),
    chart("Connections and queues", [{ label: "connections", key: "connections" }, { label: "queued", key: "queued" }], figure, signal),
  ];
  const grid = element("div", { class: "charts" }, charts.map((one) => one.element), about);
  let slow = [];
  let known = 0;

  // The latencies that the broker measures are known with the first reading.
  function addLatencies() {
    if (latencies.size === known) {
      return;
    }
    known = latencies.size;
    slow.forEach((one) => one.element.remove());
    const inside = (name) => INSIDE.test(name);
    const groups = [
      ["Latency", Array.from(latencies).filter((name) => !inside(name))],
      ["Latency inside the broker", Array.from(latencies).filter(inside)],
    ];
    slow = groups.filter(([, names]) => names.length > 0).map(([title, names]) => {
      const lines = names.slice(0, LINES_MAX).map((name) => ({ label: nameOf(name), key: name }));
      return chart(`${title}, ${SHARE * 100} % are faster`, lines, latency, signal);
    });
    about.before(...slow.map((one) => one.element));
  }

  function draw() {
    const { overview, error } = latest;
    const texts = (overview?.warnings ?? []).map((warning) => element("p", { class: "warning" }, visible(warning)));
    fill(warnings, error && failed(error), texts);
    if (overview === null) {
      return;
    }
    tiles.forEach((tile) => tile.show(overview));
    fill(about, element("h2", {}, "This broker"), factsOf(overview));
    fill(nodes, nodesOf(overview));
    addLatencies();
    for (const one of [...charts, ...slow]) {
      one.draw(samples);
    }
  }

  listen(draw, signal);
  // A graph needs its width, so it is drawn when it is in the document.
  requestAnimationFrame(() => signal.aborted || draw());
  return [heading("Overview"), warnings, element("div", { class: "tiles" }, tiles.map((tile) => tile.element)), nodes, grid];
}

/// The figures at the top: a name, the view that has more, the value, and what is below it.
const TILES = [
  ["Connections", "clients", ({ connections }) => count(connections), ({ sessions }) => `${count(sessions)} sessions`],
  ["Received", null, ({ rates }) => rate(rates.messages_received_per_second), ({ rates }) => bytesRate(rates.bytes_received_per_second)],
  ["Sent", null, ({ rates }) => rate(rates.messages_sent_per_second), ({ rates }) => bytesRate(rates.bytes_sent_per_second)],
  ["Queued", null, ({ queued_messages }) => count(queued_messages), ({ queued_bytes }) => bytes(queued_bytes)],
  ["Subscriptions", "subscriptions", ({ subscriptions }) => count(subscriptions), () => "in all sessions"],
  ["Retained", "retained", ({ retained_messages }) => count(retained_messages), () => "$SYS included"],
  ["Memory", null, ({ memory }) => bytes(memory.used_bytes), ({ memory }) => `of ${bytes(memory.max_bytes)}`],
  ["Up for", null, ({ uptime_seconds }) => duration(uptime_seconds), ({ version }) => `version ${version}`],
];

/// A tile stays in the document while its figures change, so that it keeps the focus.
function tileOf([name, place, valueOf, moreOf]) {
  const [value, more] = [element("b"), element("small")];
  const title = element("span", {}, place === null ? name : link(place, {}, name));
  const show = (overview) => {
    value.textContent = valueOf(overview);
    more.textContent = moreOf(overview);
  };
  return { element: element("div", { class: "tile" }, title, value, more), show };
}

function factsOf({ version, started_at, uptime_seconds, durability, ready }) {
  return facts([
    ["Version", version],
    ["Started", `${time(started_at)} (${duration(uptime_seconds)} ago)`],
    ["An acknowledged message survives", { "power-loss": "power loss", crash: "a crash of the process", none: "nothing: the store is off" }[durability] ?? durability],
    ["Ready for clients", ready ? "yes" : "no"],
  ]);
}

/// The nodes of a broker whose clients are spread over cells, each by itself; the others are in the warnings.
function nodesOf({ nodes }) {
  return nodes !== undefined && [element("h2", {}, "Nodes"), table(NODES, nodes)];
}

function bytesRate(number) {
  return number === null || number === undefined ? "–" : `${bytes(number)}/s`;
}

/// `oncemq_publish_to_deliver_seconds`: publish to deliver.
function nameOf(metric) {
  return metric.replace(/^oncemq_/, "").replace(/_seconds$/, "").replaceAll("_", " ");
}

const NODES = [
  { title: "Node", class: "main", cell: ({ node, ready }) => (ready ? foreign(node) : [foreign(node), " (not ready)"]) },
  { title: "Connections", class: "number", cell: ({ connections }) => count(connections) },
  { title: "Received", class: "number", cell: ({ rates }) => rate(rates.messages_received_per_second) },
  { title: "Sent", class: "number", cell: ({ rates }) => rate(rates.messages_sent_per_second) },
  { title: "Queued", class: "number", cell: ({ queued_messages }) => count(queued_messages) },
  { title: "Memory", class: "number", cell: ({ memory }) => `${bytes(memory.used_bytes)} of ${bytes(memory.max_bytes)}` },
  { title: "Up for", cell: ({ uptime_seconds, version }) => `${duration(uptime_seconds)}, version ${version}` },
];
/// The metrics of what clients do not see by themselves.
const INSIDE = /^oncemq_(store|shard)_/;
/// More lines than colours can't be told apart.
const LINES_MAX = 6;
