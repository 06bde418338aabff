// The broker as a whole, with graphs of the last ten minutes.

import { BINARY, chart } from "../charts.js";
import { SHARE, latencies, latest, listen, samples } from "../collector.js";
import { element, facts, failed, fill, heading, link, visible } from "../dom.js";
import { bytes, count, duration, figure, latency, rate, time } from "../format.js";

export function render({ signal }) {
  const warnings = element("div", { class: "warnings" });
  const tiles = element("div", { class: "tiles" });
  const about = element("div", { class: "card" });
  const charts = [
    chart("Messages", [{ label: "received", key: "received" }, { label: "sent", key: "sent" }], rate, signal),
    chart("Data", [{ label: "received", key: "bytesReceived" }, { label: "sent", key: "bytesSent" }], bytesRate, signal, BINARY),
    chart("Store", [{ label: "commits", key: "commits" }, { label: "syncs", key: "syncs" }], rate, signal),
    chart("Memory", [{ label: "resident", key: "memory" }], bytes, signal, BINARY),
    chart("Connections and queues", [{ label: "connections", key: "connections" }, { label: "queued", key: "queued" }], figure, signal),
  ];
  const grid = element("div", { class: "charts" }, charts.map((one) => one.element));
  let slow = null;
  const known = [];

  // The latencies that the broker measures are known with the first reading.
  function addLatencies() {
    if (latencies.size === known.length) {
      return;
    }
    slow?.element.remove();
    known.splice(0, known.length, ...latencies);
    const lines = known.slice(0, LINES_MAX).map((name) => ({ label: nameOf(name), key: name }));
    slow = chart(`Latency, ${SHARE * 100} % are faster`, lines, latency, signal);
    grid.append(slow.element);
  }

  function draw() {
    const { overview, error } = latest;
    const texts = (overview?.warnings ?? []).map((warning) => element("p", { class: "warning" }, visible(warning)));
    fill(warnings, error && failed(error), texts);
    if (overview === null) {
      return;
    }
    fill(tiles, tilesOf(overview));
    fill(about, element("h2", {}, "This broker"), factsOf(overview));
    addLatencies();
    for (const one of slow === null ? charts : [...charts, slow]) {
      one.draw(samples);
    }
  }

  listen(draw, signal);
  // A graph needs its width, so it is drawn when it is in the document.
  requestAnimationFrame(() => signal.aborted || draw());
  return [heading("Overview"), warnings, tiles, grid, about];
}

function tilesOf({ connections, sessions, subscriptions, retained_messages, queued_messages, queued_bytes, rates, memory }) {
  const tile = (name, value, more, place) => {
    return element("div", { class: "tile" }, element("span", {}, place ? link(place, {}, name) : name), element("b", {}, value), element("small", {}, more));
  };
  return [
    tile("Connections", count(connections), `${count(sessions)} sessions`, "clients"),
    tile("Received", rate(rates.messages_received_per_second), bytesRate(rates.bytes_received_per_second)),
    tile("Sent", rate(rates.messages_sent_per_second), bytesRate(rates.bytes_sent_per_second)),
    tile("Queued", count(queued_messages), bytes(queued_bytes)),
    tile("Subscriptions", count(subscriptions), "in all sessions", "subscriptions"),
    tile("Retained", count(retained_messages), "$SYS included", "retained"),
    tile("Memory", bytes(memory.used_bytes), `of ${bytes(memory.max_bytes)}`),
  ];
}

function factsOf({ version, started_at, uptime_seconds, durability, ready }) {
  return facts([
    ["Version", version],
    ["Started", `${time(started_at)} (${duration(uptime_seconds)} ago)`],
    ["An acknowledged message survives", { "power-loss": "power loss", crash: "a crash of the process", none: "nothing: the store is off" }[durability] ?? durability],
    ["Ready for clients", ready ? "yes" : "no"],
  ]);
}

function bytesRate(number) {
  return number === null || number === undefined ? "–" : `${bytes(number)}/s`;
}

/// `oncemq_publish_to_deliver_seconds`: publish to deliver.
function nameOf(metric) {
  return metric.replace(/^oncemq_/, "").replace(/_seconds$/, "").replaceAll("_", " ");
}

/// More lines than colours can't be told apart.
const LINES_MAX = 6;
