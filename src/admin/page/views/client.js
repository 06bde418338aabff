// One Session: what it is, what happened to it, what waits for it, and what it is subscribed to.

import { change, get, may, needs } from "../api.js";
import { ask, badge, button, choice, element, empty, facts, failed, field, foreign, heading, link, notify, table, visible } from "../dom.js";
import { bytes, count, duration, fromBase64, hexadecimal, reasonCode, time, yesNo } from "../format.js";
import { pagedList } from "../pages.js";

export async function render({ rest, signal, again }) {
  const id = rest.join("/");
  const preview = may("operator") ? PREVIEW_BYTES : undefined;
  // What happened to it outlives the Session.
  const [client, history, queue] = await Promise.all([
    settled(get(["clients", id], {}, signal)),
    settled(get(["clients", id, "history"], {}, signal)),
    settled(get(["clients", id, "queue"], { limit: QUEUED_MAX, preview }, signal)),
  ]);
  const back = element("p", { class: "back" }, link("clients", {}, "← Clients"));
  const title = heading("", client.value && actions(client.value, again));
  title.querySelector("h1").append(foreign(id));
  if (client.error) {
    const missing = client.error.status === 404 ? empty("No session has this Client Identifier.") : failed(client.error, again);
    return [back, title, missing, history.value && section("History", historyOf(history.value))];
  }
  const subscriptions = pagedList({ path: ["clients", id, "subscriptions"], key: "subscriptions", columns: SUBSCRIPTIONS, none: "It has no subscriptions.", signal });
  subscriptions.show();
  return [
    back,
    title,
    element("div", { class: "columns" }, factsOf(client.value)),
    section("Subscriptions", subscriptions.element),
    section("Queue", orFailed(queue, (value) => queueOf(value, client.value))),
    section("History", orFailed(history, historyOf)),
  ];
}

async function settled(promise) {
  try {
    return { value: await promise };
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    return { error };
  }
}

function orFailed({ value, error }, show) {
  return error ? failed(error) : show(value);
}

function section(title, ...content) {
  return element("section", {}, element("h2", {}, title), content);
}

function actions(client, again) {
  const kick = needs("operator", button("Disconnect …", () => askKick(client, again)));
  if (!client.connected) {
    kick.disabled = true;
    kick.title ||= "The client is not connected.";
  }
  const forget = needs("admin", button("Forget …", () => askForget(client), { class: "danger" }));
  return [link("trace", { client_id: client.client_id }, "Trace"), kick, forget];
}

function askKick({ client_id }, again) {
  ask(
    {
      title: "Disconnect the client",
      text: element("span", {}, "The connection of ", foreign(client_id), " ends, and its Will is published. Its session stays, and the client can connect again."),
      fields: [
        choice("Ban it, too: its verified user, or else its address", "ban", BANS, ""),
        field("Reason Code of DISCONNECT", { name: "reason_code", value: "0x98", required: true, pattern: "0x[0-9A-Fa-f]{2}" }),
      ],
      confirm: "Disconnect",
    },
    async ({ ban, reason_code }) => {
      await change("DELETE", ["clients", client_id, "connection"], { ban, reason_code });
      notify(`${client_id} was disconnected.`);
      again();
    },
  );
}

function askForget({ client_id, queued_messages }) {
  ask(
    {
      title: "Forget the session",
      text: element("span", {}, "The session of ", foreign(client_id), ` ends with its subscriptions and its ${count(queued_messages)} queued messages, which are lost. This can't be undone.`),
      confirm: "Forget",
    },
    async () => {
      await change("DELETE", ["clients", client_id]);
      notify(`The session of ${client_id} is gone.`);
      location.hash = "#/clients";
    },
  );
}

function factsOf(client) {
  const { owner, last_disconnect: last, received, sent, dropped } = client;
  const drops = Object.entries(dropped).map(([reason, number]) => element("div", {}, `${reason}: ${count(number)}`));
  return [
    card("Connection", client.connected ? connectionOf(client) : [["State", badge("away")], ["User", userOf(client)]]),
    card("Session", [
      ["Owner", owner.user === null ? (owner.provider ?? null) : element("span", {}, foreign(owner.user), owner.provider && ` (${visible(owner.provider)})`)],
      ["Mount point", client.mount_point && foreign(client.mount_point)],
      ["Session Expiry Interval", client.session_expiry_interval === null ? "does not expire" : duration(client.session_expiry_interval)],
      ["Away since", client.disconnected_at_ms && time(new Date(client.disconnected_at_ms).toISOString())],
      ["Last disconnect", last && element("span", {}, `${time(last.at)}: ${last.how ?? "unknown"} `, last.reason_code !== null && reasonCode(last.reason_code), last.reason && foreign(` ${last.reason}`))],
      ["Subscriptions", count(client.subscriptions)],
      ["Queued", `${count(client.queued_messages)} messages, ${bytes(client.queued_bytes)}`],
      ["In flight to the client", count(client.in_flight_out)],
      ["In flight from the client", count(client.in_flight_in)],
    ]),
    card("Traffic", [
      ["Received", received && `${count(received.messages)} messages, ${bytes(received.bytes)}`],
      ["Sent", sent && `${count(sent.messages)} messages, ${bytes(sent.bytes)}`],
      ["Dropped since the start", drops.length > 0 ? drops : "0"],
      ["Not authorized", count(client.not_authorized_messages)],
    ]),
  ];
}

function connectionOf(client) {
  const { connection } = client;
  return [
    ["State", badge("connected", "good")],
    ["User", userOf(client)],
    ["Address", client.address],
    ["Listener", client.listener && foreign(client.listener)],
    ["MQTT version", client.version],
    ["Connected since", time(client.connected_since)],
    ["Keep Alive", client.keep_alive === 0 ? "off" : duration(client.keep_alive)],
    ["Clean Start", yesNo(client.clean_start)],
    ["Bridge", yesNo(connection.bridge)],
    ["Not read because of", connection.paused_because.join(", ")],
    ["Unsent", bytes(connection.unsent_bytes)],
  ];
}

function userOf({ user, verified }) {
  return user && element("span", {}, foreign(user), verified ? " (verified)" : " (not verified)");
}

function card(title, pairs) {
  return element("div", { class: "card" }, element("h2", {}, title), facts(pairs));
}

function queueOf({ messages }, { queued_messages }) {
  if (messages.length === 0) {
    return empty("Nothing waits for this client.");
  }
  const more = queued_messages > messages.length && element("p", { class: "count" }, `The first ${count(messages.length)} of ${count(queued_messages)}.`);
  const note = !may("operator") && element("p", { class: "help" }, "Payloads are shown to operators.");
  return [table(QUEUE, messages), more, note];
}

function historyOf({ events }) {
  return events.length === 0 ? empty("Nothing happened to it since the start of the broker.") : table(HISTORY, events.toReversed());
}

function previewOf(preview) {
  return element("pre", { class: "payload" }, preview.text === null ? hexadecimal(fromBase64(preview.base64)) : visible(preview.text));
}

const SUBSCRIPTIONS = [
  { title: "Topic Filter", class: "main", cell: ({ filter }) => link("subscriptions", { filter }, foreign(filter)) },
  { title: "QoS", cell: ({ maximum_qos }) => maximum_qos },
  { title: "Identifier", cell: ({ subscription_identifier }) => subscription_identifier },
  { title: "No Local", cell: ({ no_local }) => yesNo(no_local) },
  { title: "Retain As Published", cell: ({ retain_as_published }) => yesNo(retain_as_published) },
  { title: "Retain Handling", cell: ({ retain_handling }) => retain_handling },
  { title: "Lag", cell: ({ stream_lag }) => stream_lag },
];

const QUEUE = [
  { title: "Sequence", class: "number", cell: ({ sequence }) => sequence },
  { title: "Topic", class: "main", cell: ({ topic }) => topic && foreign(topic) },
  { title: "QoS", cell: ({ qos }) => qos },
  { title: "State", cell: ({ state }) => state },
  { title: "Size", class: "number", cell: ({ size }) => bytes(size) },
  { title: "Expires", class: "fixed", cell: ({ expires_at }) => expires_at && time(expires_at) },
  { title: "Payload", cell: ({ preview }) => preview && previewOf(preview) },
];

const HISTORY = [
  { title: "Time", class: "fixed", cell: ({ at }) => time(at) },
  { title: "Event", cell: ({ event, count: times }) => (times > 1 ? `${event} × ${count(times)}` : event) },
  { title: "How", cell: ({ how }) => how },
  { title: "Reason", cell: ({ reason_code, reason }) => [reason_code !== null && reasonCode(reason_code), " ", reason && foreign(reason)] },
  { title: "Address", class: "fixed", cell: ({ address }) => address },
];

const BANS = [["", "no ban"], ["60", "for a minute"], ["3600", "for an hour"], ["86400", "for a day"], ["604800", "for a week"]];
/// Bytes of a payload in the queue; more is for a client.
const PREVIEW_BYTES = 128;
/// The most that the API shows.
const QUEUED_MAX = 100;
