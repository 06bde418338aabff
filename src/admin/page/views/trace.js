// Packets and decisions, live.

import { lines, may, needs } from "../api.js";
import { button, element, empty, field, fill, foreign, form, heading, newestFirst, visible } from "../dom.js";
import { count, reasonCode, time } from "../format.js";

export function render({ parameters, signal }) {
  const rows = element("tbody");
  const output = element("div", { class: "table trace" });
  const status = element("p", { class: "count", role: "status" });
  const show = newestFirst(rows, ROWS_MAX, rowOf);
  let running = null;

  const start = needs("operator", element("button", { class: "primary" }, "Start"));
  const stop = button("Stop", () => running?.abort(), { disabled: true });
  const clear = button("Clear", () => fill(rows));
  const search = form(
    { class: "filters", role: "search" },
    (values) => follow(values),
    field("Client Identifier", { name: "client_id", type: "search", value: parameters.client_id, placeholder: "a pattern with * and ?" }),
    field("Topic Filter", { name: "topic", value: parameters.topic }),
    field("Address", { name: "address", value: parameters.address, placeholder: "without port" }),
    element("div", { class: "actions" }, start, stop, clear),
  );

  async function follow(values) {
    running?.abort();
    running = new AbortController();
    const mine = running;
    signal.addEventListener("abort", () => mine.abort(), { once: true });
    fill(output, element("table", {}, HEAD.cloneNode(true), rows));
    fill(rows);
    let [seen, leftOut, missing] = [0, 0, []];
    [start.disabled, stop.disabled] = [true, false];
    status.textContent = "Waiting for packets …";
    try {
      for await (const line of lines("trace", values, mine.signal)) {
        if (line.left_out !== undefined) {
          leftOut += line.left_out;
          missing = line.missing_nodes ?? missing;
        } else {
          seen += 1;
          show(line);
        }
        const lost = leftOut > 0 ? `, ${count(leftOut)} left out because they came too fast` : "";
        const absent = missing.map(({ node, reason }) => visible(` What node ${node} has is missing: ${reason}.`)).join("");
        status.textContent = (seen === 0 ? "Waiting for packets …" : `${count(seen)} lines${lost}; the newest is the first.`) + absent;
      }
      status.textContent += " The time of the trace is over.";
    } catch (error) {
      status.textContent = error.name === "AbortError" ? `Stopped after ${count(seen)} lines.` : visible(error.message);
    }
    if (running === mine) {
      [start.disabled, stop.disabled] = [false, true];
    }
  }

  const help = may("operator")
    ? "Packets in both directions and decisions about clients, as they happen. At least one field is needed; what is shown matches all that are given. Payloads and passwords are not shown."
    : "A trace needs the role operator.";
  fill(output, empty(help));
  return [heading("Trace"), search, status, output];
}

function rowOf({ at, event, packet, client_id, address, topic, qos, bytes, packet_id, reason_code, reason, rule, receivers, details }) {
  const direction = { received: "→ broker", sent: "← broker" }[event];
  const what = direction === undefined ? visible(event) : `${direction} ${packet}`;
  const more = [
    topic !== null && foreign(topic),
    qos !== null && `QoS ${qos}`,
    packet_id !== null && `identifier ${packet_id}`,
    bytes !== null && `${count(bytes)} B`,
    receivers !== null && `${count(receivers)} receivers`,
    reason_code !== null && reasonCode(reason_code),
    reason !== null && foreign(reason),
    rule !== null && foreign(rule),
    details !== null && foreign(details),
  ];
  const parts = more.filter((part) => part !== false).flatMap((part, index) => (index === 0 ? [part] : [" · ", part]));
  const contents = [time(at).slice(11), client_id === null ? (address ?? "–") : foreign(client_id), what, parts];
  const cells = contents.map((content, index) => element("td", { "data-title": TITLES[index] }, element("div", {}, content)));
  return element("tr", { class: direction === undefined ? "decision" : "" }, cells);
}

const TITLES = ["Time", "Client Identifier", "What", "Details"];
const HEAD = element("thead", {}, element("tr", {}, TITLES.map((title) => element("th", { scope: "col" }, title))));
/// Lines in the document; older ones are removed.
const ROWS_MAX = 500;
