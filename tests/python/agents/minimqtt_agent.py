"""Adafruit MiniMQTT, the client of CircuitPython."""

import socket
import ssl
import sys
import types

# CircuitPython's own module, which only declares constants.
sys.modules["micropython"] = types.SimpleNamespace(const=lambda value: value)

from adafruit_minimqtt.adafruit_minimqtt import MQTT  # noqa: E402

import agent  # noqa: E402


class Client:
    def __init__(self):
        class Pool:
            """What a microcontroller has instead of Python's `socket`."""
            AF_INET, SOCK_STREAM, timeout = socket.AF_INET, socket.SOCK_STREAM, socket.timeout
            getaddrinfo, socket = staticmethod(socket.getaddrinfo), staticmethod(socket.socket)

        self.client = MQTT(
            broker=agent.HOST,
            port=agent.PORT,
            client_id=agent.CLIENT_ID,
            is_ssl=bool(agent.CA),
            ssl_context=agent.tls_context() or ssl.create_default_context(),
            socket_pool=Pool,
            socket_timeout=0.1,
            recv_timeout=5,
        )
        if agent.WILL_TOPIC:
            self.client.will_set(agent.WILL_TOPIC, agent.WILL_PAYLOAD.decode(), qos=1)
        # The library hands over neither QoS nor RETAIN.
        self.client.on_message = lambda _, topic, payload: agent.message(topic, 0, 0, payload)
        self.client.connect(clean_session=not agent.STORED_SESSION)
        agent.say("connected")

    def poll(self):
        self.client.loop(0.1)

    def subscribe(self, topic_filter, qos):
        self.client.subscribe(topic_filter, qos)

    def publish(self, topic, qos, retain, payload):
        self.client.publish(topic, payload, retain, qos)

    def disconnect(self):
        self.client.disconnect()


agent.serve_polling(Client())
