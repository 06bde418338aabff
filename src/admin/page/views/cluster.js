// The nodes of a cluster: who serves the clients, and how far the others follow.

import { change, get, needs } from "../api.js";
import { ask, badge, button, element, empty, facts, foreign, heading, notify, table, visible } from "../dom.js";
import { bytes, count, duration, latency, time } from "../format.js";

export async function render({ signal, again }) {
  let cluster;
  try {
    cluster = await get("cluster", {}, signal);
  } catch (error) {
    if (error.status === 404) {
      return [heading("Cluster"), empty("This broker is not part of a cluster.")];
    }
    throw error;
  }
  const hasCells = cluster.cells.length > 0;
  const troubles = [...cluster.troubles, ...cluster.cells.flatMap(({ cell, troubles: own }) => own.map((trouble) => `cell ${cell}: ${trouble}`))];
  const able = cluster.members.filter((member) => member.able && member.alive);
  const moves = { title: "", cell: (member) => !hasCells && cluster.role === "owner" && able.includes(member) && needs("admin", button("Give it the clients …", () => askMove(member, again))) };
  const drain = cluster.drained
    ? button("End the drain", () => undrain(again))
    : button("Drain this node …", () => askDrain(cluster, again));
  return [
    heading("Cluster", needs("admin", drain)),
    troubles.map((trouble) => element("p", { class: "warning" }, visible(trouble))),
    element("div", { class: "card" }, element("h2", {}, "This node"), facts(factsOf(cluster))),
    cluster.cells.length > 0 && element("section", {}, element("h2", {}, "Cells"), table(CELLS, cluster.cells)),
    element("section", {}, element("h2", {}, "Other nodes"), cluster.members.length > 0 ? table([...MEMBERS, moves], cluster.members) : empty("No other node has said anything yet.")),
  ];
}

function factsOf(cluster) {
  const { owner, engine_latency: engine, last_failover: last } = cluster;
  const own = cluster.cells.filter(({ role }) => role === "owner");
  const rows = [
    ["Cluster", foreign(cluster.cluster)],
    ["Node", foreign(cluster.node)],
    ["Role", cluster.drained ? [roleOf(cluster.role), " ", badge("drained", "warn")] : roleOf(cluster.role)],
    ["Serves the clients", owner === null ? "none that this node knows of" : foreign(`${owner.node}${owner.advertise === null ? "" : ` (${owner.advertise})`}`)],
    ["Epoch", count(cluster.epoch)],
    ["On a majority of disks", `${count(cluster.replicated)} of ${count(cluster.sequence)}`],
    ["Stream", `position ${count(cluster.position)}${cluster.tail_bytes === null ? "" : `, ${bytes(cluster.tail_bytes)}`}`],
    ["Acknowledged by the stream after", engine.mean_seconds === null ? "–" : `${latency(engine.mean_seconds)} (mean of ${count(engine.commits)})`],
    ["Taken over, fenced", `${count(cluster.takeovers)}, ${count(cluster.fences)} since the start`],
    ["Last change", last === null ? "none since the start" : [`${time(last.at)}, after ${duration(last.seconds)}: `, foreign(last.node), ", ", visible(last.cause)]],
  ];
  // Each cell has its own.
  const ofBroker = ["Serves the clients", "Epoch", "On a majority of disks", "Stream", "Acknowledged by the stream after", "Last change"];
  return cluster.cells.length === 0
    ? rows
    : [...rows.filter(([title]) => !ofBroker.includes(title)), ["Serves", `${count(own.length)} of ${count(cluster.cells.length)} cells`]];
}

function askMove({ node }, again) {
  ask({ title: `Give the clients to ${visible(node)}`, text: "All clients are disconnected, and told the address of that node.", confirm: "Give" }, () => moved("POST", "move", { to: node }, again));
}

function askDrain({ role }, again) {
  const text = role === "owner" ? "Another node gets the clients, which are disconnected. " : "";
  ask({ title: "Drain this node", text: `${text}It does not take over by itself until the drain ends or it starts again.`, confirm: "Drain" }, () => moved("POST", "drain", {}, again));
}

async function undrain(again) {
  await moved("DELETE", "drain", {}, again);
}

async function moved(method, what, parameters, again) {
  const { to } = await change(method, ["cluster", what], parameters);
  notify(to === null ? "Done." : `${to} is to serve the clients.`);
  again();
}

const roleOf = (role) => badge(role ?? "unknown", { owner: "good", standby: "good", fenced: "bad", stopped: "bad" }[role] ?? "warn");

const CELLS = [
  { title: "Cell", class: "number", cell: ({ cell }) => cell },
  { title: "Owner", class: "main", cell: ({ owner }) => (owner === null ? badge("none", "bad") : foreign(owner)) },
  { title: "Here", cell: ({ role }) => roleOf(role) },
  { title: "Epoch", class: "number", cell: ({ epoch }) => count(epoch) },
  { title: "Copies", class: "number", cell: ({ copies }) => count(copies) },
  { title: "Behind", class: "number", cell: ({ lag }) => count(lag) },
  { title: "Clients", cell: ({ accepts_clients: accepts }) => accepts !== null && (accepts ? badge("accepted", "good") : badge("wait", "warn")) },
  { title: "Links", class: "number", cell: ({ links_up: up, links }) => up !== null && `${count(up)} of ${count(links.length)}` },
  { title: "For other cells", class: "number", cell: ({ waiting_messages: messages, waiting_bytes: size }) => messages !== null && (messages > 0 ? `${count(messages)} (${bytes(size)})` : "0") },
];

const MEMBERS = [
  { title: "Node", class: "main", cell: ({ node }) => foreign(node) },
  { title: "Role", cell: ({ role }) => roleOf(role) },
  { title: "State", cell: ({ alive, able }) => (alive ? (able ? badge("can take over", "good") : badge("can't take over", "warn")) : badge("silent", "bad")) },
  { title: "Log", class: "number", cell: ({ sequence }) => count(sequence) },
  { title: "Behind", class: "number", cell: ({ lag }) => count(lag) },
  { title: "Heard of", class: "number", cell: ({ silent_seconds: silent }) => `${duration(silent)} ago` },
  { title: "Address", cell: ({ advertise }) => foreign(advertise) },
];
