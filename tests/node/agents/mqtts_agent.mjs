// mqtts, an MQTT 3.1.1 client in TypeScript.

import * as agent from "./agent.mjs";

const mqtts = agent.load("mqtts");

const transport = agent.ca
  ? new mqtts.TlsTransport({ host: agent.host, port: agent.port, additionalOptions: { ca: agent.ca } })
  : new mqtts.TcpTransport({ host: agent.host, port: agent.port });
const client = new mqtts.MqttClient({ transport, autoReconnect: false });
client.on("message", (m) => agent.message(m.topic, m.qosLevel, m.retained ?? 0, m.payload));
client.on("error", (error) => console.error(error));
const will = agent.willTopic === undefined ? undefined : { topic: agent.willTopic, message: agent.willPayload, qosLevel: 1, retained: false };
await client.connect({ clientId: agent.clientId, clean: !agent.storedSession, keepAlive: 60, will });
agent.say("connected");

await agent.serve({
  subscribe: (topic, qosLevel) => client.subscribe({ topic, qosLevel }),
  publish: (topic, qosLevel, retained, payload) => client.publish({ topic, payload, qosLevel, retained }),
  disconnect: () => client.disconnect(true),
});
