// The common part of the programs that drive one client library each; tests/python/agents/agent.py describes the protocol.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// The libraries are in a directory that `bash tests/run` fills.
export const load = createRequire(`${process.env.NODE_LIBRARIES}/`);

export const host = process.env.BROKER_HOST ?? "127.0.0.1";
export const port = Number(process.env.BROKER_PORT);
export const clientId = process.env.CLIENT_ID;
export const version = Number(process.env.MQTT_VERSION ?? 4);
export const storedSession = "STORED_SESSION" in process.env;
export const willTopic = process.env.WILL_TOPIC;
export const willPayload = "gone";
export const ca = process.env.BROKER_CA === undefined ? undefined : readFileSync(process.env.BROKER_CA);
export const websocket = "WEBSOCKET" in process.env;
export const sessionExpirySeconds = 3600;

export function say(...words) {
  console.log(words.join(" "));
}

export function message(topic, qos, retain, payload) {
  say("message", topic, qos, Number(retain), payload);
}

// Obeys all commands with the functions of `client` that are named like them.
export async function serve(client) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, first, qos, retain, ...payload] = line.split(" ");
    if (name === "subscribe") {
      await client.subscribe(first, Number(qos));
      say("subscribed");
    } else if (name === "publish") {
      await client.publish(first, Number(qos), retain === "1", payload.join(" "));
      say("published");
    } else {
      await client.disconnect();
      say("disconnected");
      break;
    }
  }
  process.exit(0);
}
