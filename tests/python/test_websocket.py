"""MQTT over WebSocket, `ws` and, with BROKER_CA, `wss`."""

import os
import unittest

import paho.mqtt.client as paho

from mqtt_client import Client, TestCase

CA = os.environ.get("BROKER_CA")


class WebSocket(TestCase):
    def exchange(self, version):
        with Client(version=version, transport="websockets", tls=CA).connected() as client:
            self.assertEqual(client.subscribe("websocket/#"), 2)
            payloads = [b"", b"small", b"x" * 70_000]
            for qos in (0, 1, 2):
                for payload in payloads:
                    client.publish("websocket/x", payload, qos)
                    message = client.message()
                    self.assertEqual((message.payload, message.qos), (payload, qos))
            client.disconnect()

    def test_mqtt5_6_0_0_3_packets_of_any_size_in_both_directions(self):
        self.exchange(paho.MQTTv5)

    def test_mqtt311_6_0_0_2_packets_of_any_size_in_both_directions(self):
        self.exchange(paho.MQTTv311)


if __name__ == "__main__":
    unittest.main()
