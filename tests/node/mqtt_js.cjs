// Exchanges messages through a broker with mqtt.js.
//
// Arguments: the URL of the broker, the version (3.1, 3.1.1 or 5), and optionally the file of the certificate authority.
// Prints the WebSocket subprotocol that the broker chose. Ends with an error if a message does not arrive as it was sent.

"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const mqtt = require("mqtt");
const WebSocket = require("ws");

const [url, version, authority] = process.argv.slice(2);
const protocol = {
  "3.1": { protocolId: "MQIsdp", protocolVersion: 3 },
  "3.1.1": { protocolVersion: 4 },
  5: { protocolVersion: 5 },
}[version];
assert(protocol, `unknown version ${version}`);

const PATIENCE_MS = 20_000;
setTimeout(() => fail("timeout"), PATIENCE_MS);

function fail(message) {
  console.error(message);
  process.exit(1);
}

const payloads = [Buffer.alloc(0), Buffer.from("small"), Buffer.alloc(70_000, "x")];

async function exchange() {
  let socket;
  const options = {
    ...protocol,
    clientId: `js-${version}`,
    reconnectPeriod: 0,
    ca: authority && fs.readFileSync(authority),
    createWebsocket: (address, subprotocols, { wsOptions }) => {
      socket = new WebSocket(address, subprotocols, wsOptions);
      socket.on("unexpected-response", (_, response) => fail(`HTTP status ${response.statusCode}`));
      return socket;
    },
  };
  const client = await mqtt.connectAsync(url, options, false);
  console.log(`subprotocol ${socket?.protocol || "none"}`);
  const received = [];
  const waiting = [];
  client.on("message", (topic, payload, packet) => {
    received.push({ topic, payload, qos: packet.qos });
    waiting.splice(0).forEach((wake) => wake());
  });
  await client.subscribeAsync(`js/${version}/#`, { qos: 2 });
  for (const qos of [0, 1, 2]) {
    for (const payload of payloads) {
      const topic = `js/${version}/${qos}`;
      await client.publishAsync(topic, payload, { qos });
      while (received.length === 0) {
        await new Promise((wake) => waiting.push(wake));
      }
      const message = received.shift();
      assert.deepStrictEqual([message.topic, message.qos], [topic, qos]);
      assert(message.payload.equals(payload), "the payload has changed");
    }
  }
  await client.unsubscribeAsync(`js/${version}/#`);
  await client.endAsync();
}

exchange().then(
  () => process.exit(0),
  (error) => fail(error.message),
);
