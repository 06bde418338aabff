"""Reason Strings and the explanation of CONNACK, as paho shows them."""

import queue

import paho.mqtt.client as paho

from mqtt_client import TIMEOUT, TestCase, only_ours


def sentence(properties):
    return getattr(properties, "ReasonString", None)


@only_ours
class Words(TestCase):
    def bob(self, **arguments):
        client = self.new_client(user=("bob", "builder"))
        self.told = queue.Queue()
        tell = lambda _, __, ___, code, properties: self.told.put(sentence(properties))
        client.paho.on_publish = tell
        client.paho.on_subscribe = tell
        return client.connected(**arguments)

    def test_connack_of_a_refused_client(self):
        code, _, properties = self.new_client(user=("bob", "wrong")).connect()
        self.assertEqual((code.value, sentence(properties)), (0x86, "User Name or Password is wrong"))

    def test_connack_has_no_words_for_those_who_do_not_ask(self):
        _, _, properties = self.new_client(user=("bob", "builder")).connect()
        self.assertIsNone(sentence(properties))
        self.assertFalse(hasattr(properties, "UserProperty"))

    def test_connack_explains_itself(self):
        client = self.new_client("words-durable", user=("bob", "builder"))
        _, _, properties = client.connect(UserProperty=[("explain", "true")], SessionExpiryInterval=60)
        told = dict(properties.UserProperty)
        self.assertEqual(told, {"durability": "power-loss", "session": "stored", "queued-messages": "0", "user": "bob"})

    def test_acknowledgements(self):
        client = self.bob()
        client.paho.publish("alices/a", b"", 1)
        self.assertEqual(self.told.get(timeout=TIMEOUT), "not authorized to publish to this topic")
        # paho sends PUBREL even if PUBREC has an error, and shows the properties of PUBCOMP.
        client.paho.publish("alices/a", b"", 2)
        self.assertEqual(
            self.told.get(timeout=TIMEOUT),
            "no QoS 2 message has this Packet Identifier: it was refused, completed before, or is unknown",
        )
        client.paho.subscribe([("open/#", paho.SubscribeOptions(1)), ("alices/#", paho.SubscribeOptions(1))])
        self.assertEqual(self.told.get(timeout=TIMEOUT), "alices/#: not authorized to subscribe")

    def test_no_words_on_success_and_for_clients_without_problem_information(self):
        client = self.bob(RequestProblemInformation=0)
        for topic in ("open/a", "alices/a"):
            client.paho.publish(topic, b"", 1)
            self.assertIsNone(self.told.get(timeout=TIMEOUT))
        client = self.bob()
        client.paho.publish("open/a", b"", 1)
        self.assertIsNone(self.told.get(timeout=TIMEOUT))

    def test_disconnect(self):
        client = self.new_client("words-twice", user=("bob", "builder")).connected()
        self.new_client("words-twice", user=("bob", "builder")).connected()
        code, _, properties = client.disconnects.get(timeout=TIMEOUT)
        self.assertEqual((code.value, sentence(properties)), (0x8E, "session taken over by another connection"))
