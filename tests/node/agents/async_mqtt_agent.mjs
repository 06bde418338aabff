// async-mqtt 2, which is mqtt.js 4.

import * as agent from "./agent.mjs";

const { connect } = agent.load("async-mqtt");

const scheme = agent.websocket ? (agent.ca ? "wss" : "ws") : agent.ca ? "mqtts" : "mqtt";
const options = {
  ca: agent.ca,
  clean: !agent.storedSession,
  clientId: agent.clientId,
  protocolVersion: agent.version,
  reconnectPeriod: 500,
};
if (agent.version === 3) {
  options.protocolId = "MQIsdp";
}
if (agent.version === 5 && agent.storedSession) {
  options.properties = { sessionExpiryInterval: agent.sessionExpirySeconds };
}
if (agent.willTopic !== undefined) {
  options.will = { topic: agent.willTopic, payload: agent.willPayload, qos: 1, retain: false };
}
const client = connect(`${scheme}://${agent.host}:${agent.port}`, options);
client.on("connect", () => agent.say("connected"));
client.on("error", (error) => console.error(error));
client.on("message", (topic, payload, packet) => agent.message(topic, packet.qos, packet.retain, payload));

await agent.serve({
  subscribe: (filter, qos) => client.subscribe(filter, { qos }),
  publish: (topic, qos, retain, payload) => client.publish(topic, payload, { qos, retain }),
  disconnect: () => client.end(),
});
