"""A blocking client on top of paho-mqtt: each call returns the response of the broker, or fails after TIMEOUT."""

import os
import queue
import time
import unittest

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST = os.environ.get("BROKER_HOST", "127.0.0.1")
PORT = int(os.environ.get("BROKER_PORT", "1883"))
# Set if the broker under test is not OnceMQ; tests of features that only OnceMQ has are skipped then.
IS_PEER = "BROKER_IS_PEER" in os.environ
TIMEOUT = 5.0
# How long to wait for a message that must not arrive, if no other event rules it out.
SILENCE = 0.3

only_ours = unittest.skipIf(IS_PEER, "guaranteed by OnceMQ only")


class TestCase(unittest.TestCase):
    """A test case that closes its clients at the end."""

    def new_client(self, *arguments, **named):
        client = Client(*arguments, **named)
        self.addCleanup(client.kill)
        return client


def properties(packet_type, **values):
    """Creates properties from their paho names; UserProperty is a list of pairs."""
    result = Properties(packet_type)
    for name, value in values.items():
        setattr(result, name, value)
    return result


def publish_properties(**values):
    return properties(PacketTypes.PUBLISH, **values)


class Client:
    """A client; at the end of `with`, its connection is closed without DISCONNECT, unless it is closed already."""

    def __init__(self, client_id="", version=paho.MQTTv5, transport="tcp", manual_ack=False, user=None, tls=None):
        self.messages = queue.Queue()
        self.connacks = queue.Queue()
        self.disconnects = queue.Queue()
        self.answers = {}
        self.version = version
        arguments = {"client_id": client_id, "protocol": version, "transport": transport, "manual_ack": manual_ack}
        if version != paho.MQTTv5:
            arguments["clean_session"] = True
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False, **arguments)
        if user:
            self.paho.username_pw_set(*user)
        if tls:
            self.paho.tls_set(ca_certs=tls)
        if transport == "websockets":
            self.paho.ws_set_options(path="/mqtt")
        self.paho.on_connect = lambda _, __, flags, code, values: self.connacks.put((code, flags, values))
        self.paho.on_disconnect = lambda _, __, flags, code, values: self.disconnects.put((code, flags, values))
        self.paho.on_message = lambda _, __, message: self.messages.put(message)
        self.paho.on_publish = lambda _, __, mid, code, values: self._answer(("publish", mid), code)
        self.paho.on_subscribe = lambda _, __, mid, codes, values: self._answer(("subscribe", mid), codes)
        self.paho.on_unsubscribe = lambda _, __, mid, codes, values: self._answer(("unsubscribe", mid), codes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def _answer(self, key, value):
        self.answers[key] = value

    def _wait_answer(self, key):
        deadline = time.monotonic() + TIMEOUT
        while key not in self.answers:
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer to {key}")
            time.sleep(0.002)
        return self.answers.pop(key)

    def will(self, topic, payload, qos=0, retain=False, **values):
        self.paho.will_set(topic, payload, qos, retain, properties(PacketTypes.WILLMESSAGE, **values))
        return self

    def connect(self, clean_start=True, keepalive=60, **values):
        """Connects and returns reason code, flags and properties of CONNACK."""
        arguments = {}
        if self.version == paho.MQTTv5:
            arguments = {"clean_start": clean_start, "properties": properties(PacketTypes.CONNECT, **values)}
        self.paho.connect(HOST, PORT, keepalive, **arguments)
        self.paho.loop_start()
        return self.connacks.get(timeout=TIMEOUT)

    def connected(self, **arguments):
        """Connects, which must succeed, and returns the client."""
        code, _, _ = self.connect(**arguments)
        assert code.value == 0, f"CONNACK {code}"
        return self

    def subscribe(self, filter, qos=2, no_local=False, retain_as_published=False, retain_handling=0, **values):
        """Subscribes to one filter and returns its reason code."""
        if self.version == paho.MQTTv5:
            options = SubscribeOptions(qos, no_local, retain_as_published, retain_handling)
            _, mid = self.paho.subscribe(filter, options=options, properties=properties(PacketTypes.SUBSCRIBE, **values))
        else:
            _, mid = self.paho.subscribe(filter, qos)
        return self._wait_answer(("subscribe", mid))[0].value

    def unsubscribe(self, filters):
        """Unsubscribes and returns the reason codes."""
        _, mid = self.paho.unsubscribe(filters)
        return [code.value for code in self._wait_answer(("unsubscribe", mid))]

    def publish(self, topic, payload=b"", qos=1, retain=False, **values):
        """Publishes and returns the reason code of the acknowledgement; at QoS 0, returns when the message is sent."""
        arguments = {"properties": publish_properties(**values)} if self.version == paho.MQTTv5 else {}
        info = self.paho.publish(topic, payload, qos, retain, **arguments)
        return self._wait_answer(("publish", info.mid)).value

    def message(self):
        """The next message."""
        return self.messages.get(timeout=TIMEOUT)

    def nothing_else(self, probe=None):
        """Fails if a message has arrived or arrives.

        With a topic of this client as `probe`, no waiting is needed: messages keep their order, so the probe arrives last.
        """
        if probe is not None:
            self.publish(probe, b"probe", 2)
            message = self.message()
            assert message.topic == probe, f"unexpected: {message.topic} {message.payload}"
            return
        try:
            message = self.messages.get(timeout=SILENCE)
        except queue.Empty:
            return
        raise AssertionError(f"unexpected: {message.topic} {message.payload}")

    def disconnected(self):
        """The reason code with which the broker closed the connection."""
        return self.disconnects.get(timeout=TIMEOUT)[0].value

    def disconnect(self, reason_code=None, **values):
        """Sends DISCONNECT and waits until the connection is closed."""
        if self.version == paho.MQTTv5:
            self.paho.disconnect(reason_code, properties(PacketTypes.DISCONNECT, **values))
        else:
            self.paho.disconnect()
        self.disconnects.get(timeout=TIMEOUT)
        self.paho.loop_stop()

    def kill(self):
        """Closes the connection without DISCONNECT."""
        connection = self.paho.socket()
        if connection is not None:
            try:
                connection.shutdown(2)
            except OSError:
                pass
        self.paho.loop_stop()
