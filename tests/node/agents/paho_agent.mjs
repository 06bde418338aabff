// Eclipse Paho's JavaScript client. It is for browsers: `ws` provides the class WebSocket.

import * as agent from "./agent.mjs";

globalThis.WebSocket = agent.load("ws");
const Paho = agent.load("paho-mqtt");

const uri = `ws://${agent.host}:${agent.port}/mqtt`;
const client = new Paho.Client(uri, agent.clientId);
client.onConnected = () => agent.say("connected");
client.onMessageArrived = (m) => agent.message(m.destinationName, m.qos, m.retained, m.payloadString);
const acknowledged = new Map();
client.onMessageDelivered = (m) => acknowledged.get(m.payloadString)?.();

function outgoing(topic, payload, qos, retain) {
  const message = new Paho.Message(payload);
  Object.assign(message, { destinationName: topic, qos, retained: retain });
  return message;
}

await new Promise((onSuccess, fail) => {
  // An attempt to connect again that fails is followed by the next only after `timeout` seconds, by default 30.
  const options = { timeout: 1, mqttVersion: agent.version, mqttVersionExplicit: true };
  options.cleanSession = !agent.storedSession;
  if (agent.willTopic !== undefined) {
    options.willMessage = outgoing(agent.willTopic, agent.willPayload, 1, false);
  }
  client.connect({ ...options, reconnect: true, onSuccess, onFailure: (e) => fail(new Error(e.errorMessage)) });
});

await agent.serve({
  subscribe: (filter, qos) =>
    new Promise((onSuccess, fail) => client.subscribe(filter, { qos, onSuccess, onFailure: (e) => fail(new Error(e.errorMessage)) })),
  publish: (topic, qos, retain, payload) =>
    new Promise((resolve) => {
      acknowledged.set(payload, resolve);
      client.send(outgoing(topic, payload, qos, retain));
    }),
  disconnect: async () => client.disconnect(),
});
