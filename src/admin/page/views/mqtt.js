// A client of the broker over WebSocket: subscribes and publishes.

import { get } from "../api.js";
import { add, badge, button, checkbox, choice, element, empty, field, fill, foreign, form, heading, link, newestFirst, visible } from "../dom.js";
import { bytes, count, hexadecimal, time } from "../format.js";

export async function render({ signal }) {
  const { settings } = await get("config", {}, signal);
  const listeners = webSockets(settings);
  const status = element("span", { role: "status" }, badge("not connected"));
  const problem = element("p", { class: "error", role: "alert" });
  const messages = element("div", { class: "messages", role: "log", "aria-label": "Messages" }, empty("Messages of your subscriptions appear here. The client disconnects when you leave this view."));
  const subscribed = element("ul", { class: "chips", "aria-label": "Subscriptions" });
  const work = element("fieldset", { class: "plain", disabled: true });
  const show = newestFirst(messages, MESSAGES_MAX, messageOf);
  const total = element("p", { class: "count" });
  let received = 0;
  let client = null;

  const leave = button("Disconnect", () => client?.end(), { disabled: true });
  const enter = element("button", { class: "primary" }, "Connect");
  const connect = form(
    { class: "filters" },
    (values) => open(values),
    field("URL", { name: "url", type: "url", required: true, value: listeners[0]?.url, placeholder: `ws://${host()}:8083/mqtt`, list: "urls" }),
    element("datalist", { id: "urls" }, listeners.map(({ url }) => element("option", { value: url }))),
    field("Client Identifier", { name: "clientId", value: `page-${Math.random().toString(36).slice(2, 10)}`, required: true }),
    choice("MQTT", "version", [["5", "5.0"], ["4", "3.1.1"]], "5"),
    field("User", { name: "username" }),
    field("Password", { name: "password", type: "password" }),
    element("div", { class: "actions" }, enter, leave, status),
  );

  async function open({ url, clientId, version, username, password }) {
    problem.textContent = "";
    enter.disabled = true;
    fill(status, badge("connecting"));
    const protocolVersion = Number(version);
    const login = { username: username || undefined, password: username ? password : undefined };
    // A worker for timers would need another source of scripts.
    const options = { clientId, protocolVersion, ...login, clean: true, reconnectPeriod: 0, connectTimeout: CONNECT_MS, timerVariant: "native" };
    try {
      // It is large, and only this view needs it.
      const library = await import("../vendored/mqtt.esm.js");
      if (signal.aborted) {
        return;
      }
      client = library.default.connect(url, options);
    } catch (error) {
      closed(error);
      return;
    }
    const mine = client;
    mine.on("connect", () => {
      [work.disabled, leave.disabled] = [false, false];
      fill(status, badge("connected", "good"));
      fill(subscribed);
    });
    mine.on("message", (topic, payload, packet) => {
      received += 1;
      total.textContent = `${count(received)} message${received === 1 ? "" : "s"}${received > MESSAGES_MAX ? `, the last ${count(MESSAGES_MAX)} are shown` : ""}`;
      show({ at: new Date(), topic, payload, packet });
    });
    mine.on("error", (error) => mine === client && closed(error));
    mine.on("disconnect", ({ reasonCode, properties }) => {
      problem.textContent = `The broker disconnected this client: 0x${reasonCode?.toString(16)} ${visible(properties?.reasonString ?? "")}`;
    });
    mine.on("close", () => mine === client && closed(null));
  }

  function closed(error) {
    client?.end(true);
    client = null;
    work.disabled = true;
    [enter.disabled, leave.disabled] = [false, true];
    fill(status, badge("not connected"));
    if (error !== null) {
      problem.textContent = `${visible(error.message ?? error.type ?? "The connection failed")}. ${WHAT_TO_CHECK}`;
    }
  }

  const subscribe = form(
    { class: "filters" },
    ({ filter, qos }) => {
      const properties = client.options.protocolVersion === 5 ? { userProperties: { "message-id": "true" } } : undefined;
      client.subscribe(filter, { qos: Number(qos), properties }, (error, granted) => {
        const refused = granted?.find(({ qos: code }) => code >= 0x80);
        problem.textContent = error || refused ? `The subscription was refused: ${visible(error?.message ?? `0x${refused.qos.toString(16)}`)}` : "";
        if (!problem.textContent) {
          add(subscribed, [chipOf(filter, qos, client)]);
        }
      });
    },
    field("Topic Filter", { name: "filter", required: true, placeholder: "for example plant/#" }),
    choice("QoS", "qos", QOS, "1"),
    element("button", {}, "Subscribe"),
  );

  const publish = form(
    { class: "filters publish" },
    ({ topic, payload, qos, retain }) => {
      const began = performance.now();
      client.publish(topic, payload, { qos: Number(qos), retain: retain === "on" }, (error, answer) => {
        const code = answer?.reasonCode ?? 0;
        problem.textContent = error ? `The message was refused: ${visible(error.message)}` : "";
        const took = qos === "0" ? "sent" : `acknowledged after ${(performance.now() - began).toFixed(1)} ms${code === 0x10 ? ", nobody is subscribed" : ""}`;
        outcome.textContent = error ? "" : took;
      });
    },
    field("Topic Name", { name: "topic", required: true }),
    choice("QoS", "qos", QOS, "1"),
    checkbox("retain", { name: "retain" }),
    element("label", { class: "wide" }, "Payload", element("textarea", { name: "payload", rows: 3, spellcheck: "false" })),
    element("button", {}, "Publish"),
  );
  const outcome = element("span", { class: "count", role: "status" });

  signal.addEventListener("abort", () => client?.end(), { once: true });
  add(work, [
    element("div", { class: "columns" }, [
      element("div", { class: "card" }, element("h2", {}, "Subscribe"), subscribe, subscribed),
      element("div", { class: "card" }, element("h2", {}, "Publish"), publish, outcome),
    ]),
  ]);
  const clear = () => {
    received = 0;
    fill(total);
    fill(messages);
  };
  const title = heading("Subscribe and publish", button("Clear the messages", clear));
  return [title, listeners.length === 0 && howToListen(), element("div", { class: "card" }, connect, problem), work, total, messages];
}

function chipOf(filter, qos, client) {
  const chip = element("li", {}, foreign(filter), ` QoS ${qos} `);
  chip.append(button("×", () => client.unsubscribe(filter, () => chip.remove()), { "aria-label": `Unsubscribe from ${visible(filter)}` }));
  return chip;
}

function messageOf({ at, topic, payload, packet: { qos, retain, dup, properties } }) {
  const text = textOf(payload);
  const user = Object.entries(properties?.userProperties ?? {}).flatMap(([name, values]) => [values].flat().map((value) => [name, value]));
  const shown = user.map(([name, value]) => {
    const is = name === "message-id";
    return element("span", {}, " · ", is ? link("message", { id: value }, foreign(value)) : [foreign(name), "=", foreign(value)]);
  });
  const flags = [`QoS ${qos}`, retain && "retained", dup && "DUP", bytes(payload.length)].filter(Boolean).join(" · ");
  return element(
    "article",
    {},
    element("header", {}, foreign(topic, { class: "foreign topic" }), element("small", {}, ` ${time(at).slice(11)} · ${flags}`, shown)),
    element("pre", { class: "payload" }, text === null ? hexadecimal(payload) : visible(text)),
    text !== null && payload.length > TEXT_BYTES_MAX && element("p", { class: "count" }, `${count(payload.length - TEXT_BYTES_MAX)} more bytes`),
  );
}

function textOf(payload) {
  try {
    const part = payload.subarray(0, TEXT_BYTES_MAX);
    // As a stream, the last character may be cut.
    return new TextDecoder("utf-8", { fatal: true }).decode(part, { stream: part.length < payload.length });
  } catch {
    return null;
  }
}

/// The listeners for WebSocket that this page may connect to: `{url}`.
function webSockets(settings) {
  const found = new Map();
  for (const { key, value } of settings) {
    const [, index, name] = /^listeners\[(\d+)\]\.(address|transport|websocket_path)$/.exec(key) ?? [];
    if (name !== undefined) {
      found.set(index, { ...found.get(index), [name]: value });
    }
  }
  return Array.from(found.values())
    .filter(({ transport, address }) => TRANSPORTS.includes(transport) && !String(address).startsWith("unix:"))
    .map(({ address, transport, websocket_path }) => {
      const port = String(address).split(":").at(-1);
      const path = websocket_path === null || websocket_path === "*" ? "/mqtt" : websocket_path;
      return { url: `${transport}://${host()}:${port}${path}` };
    });
}

function host() {
  return location.hostname || "localhost";
}

function howToListen() {
  return element(
    "div",
    { class: "card" },
    element("h2", {}, IS_SECURE ? "The broker has no listener for WebSocket over TLS" : "The broker has no listener for WebSocket"),
    element("p", {}, "A browser speaks MQTT over WebSocket only. Add a listener to the configuration file and restart the broker. Listeners in the file replace the default ones, so keep those that clients use:"),
    element("pre", {}, LISTENER),
  );
}

/// A page over HTTPS may open WebSockets over TLS alone.
const IS_SECURE = location.protocol === "https:";
const TRANSPORTS = IS_SECURE ? ["wss"] : ["ws", "wss"];
const WEB_SOCKET = IS_SECURE
  ? `address = "0.0.0.0:8084"
transport = "wss"
tls.certificate = "broker.crt"
tls.key = "broker.key"`
  : `address = "127.0.0.1:8083"
transport = "ws"`;
const LISTENER = `[[listeners]]
address = "127.0.0.1:1883"

[[listeners]]
${WEB_SOCKET}
# Not needed for this page: pages of the host that the browser connects to are accepted.
#websocket_origins = ["${location.origin}"]`;
const WHAT_TO_CHECK =
  "If the broker runs: the URL must have the host of this page; the listener needs transport \"ws\" or \"wss\" (\"wss\" for a page over HTTPS); with websocket_origins set, it must name the origin of this page; the user may need a password.";
const QOS = [["0", "0"], ["1", "1"], ["2", "2"]];
const CONNECT_MS = 10_000;
/// Messages in the document; older ones are removed.
const MESSAGES_MAX = 200;
/// Bytes of a payload that are shown as text.
const TEXT_BYTES_MAX = 10_000;
