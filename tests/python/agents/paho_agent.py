"""paho-mqtt, 1.6 and 2."""

import os
import queue

import paho.mqtt.client as paho
from paho.mqtt import __version__
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import agent

assert __version__.startswith(os.environ.get("PAHO_VERSION", "2.")), __version__


class Client:
    def __init__(self):
        arguments = {"client_id": agent.CLIENT_ID, "protocol": agent.VERSION}
        arguments["transport"] = "websockets" if agent.WEBSOCKET else "tcp"
        if hasattr(paho, "CallbackAPIVersion"):
            arguments["callback_api_version"] = paho.CallbackAPIVersion.VERSION2
        if agent.VERSION != 5:
            arguments["clean_session"] = not agent.STORED_SESSION
        self.client = paho.Client(**arguments)
        if agent.CA:
            self.client.tls_set(ca_certs=agent.CA)
        if agent.WILL_TOPIC:
            self.client.will_set(agent.WILL_TOPIC, agent.WILL_PAYLOAD, 1)
        self.subscribed = queue.Queue()
        self.client.on_connect = lambda *_: agent.say("connected")
        self.client.on_subscribe = lambda *_: self.subscribed.put(None)
        self.client.on_message = lambda _, __, m: agent.message(m.topic, m.qos, m.retain, m.payload)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(agent.HOST, agent.PORT, **self.version_5())
        self.client.loop_start()

    def version_5(self):
        if agent.VERSION != 5:
            return {}
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = agent.SESSION_EXPIRY_SECONDS if agent.STORED_SESSION else 0
        return {"clean_start": not agent.STORED_SESSION, "properties": properties}

    def subscribe(self, topic_filter, qos):
        self.client.subscribe(topic_filter, qos)
        self.subscribed.get(timeout=10)

    def publish(self, topic, qos, retain, payload):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(10)

    def disconnect(self):
        self.client.disconnect()
        self.client.loop_stop()


agent.serve(Client())
