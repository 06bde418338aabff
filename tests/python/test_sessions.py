"""Sessions of 5.0: their lifetime, and their properties in CONNACK and DISCONNECT."""

import os
import time
import unittest

from mqtt_client import Client, IS_PEER, TestCase, only_ours


class Connack(TestCase):
    def test_mqtt5_3_2_2_16_an_empty_client_identifier_is_assigned_one(self):
        names = set()
        for _ in range(3):
            with Client() as client:
                code, _, values = client.connect()
                self.assertEqual(code.value, 0)
                names.add(values.AssignedClientIdentifier)
        self.assertEqual(len(names), 3)

    def test_an_assigned_client_identifier_names_the_session(self):
        with Client() as client:
            _, _, values = client.connect(clean_start=False, SessionExpiryInterval=60)
            name = values.AssignedClientIdentifier
            client.disconnect()
        with Client(name) as client:
            _, flags, values = client.connect(clean_start=False)
            self.assertTrue(flags.session_present)
            self.assertNotIn("AssignedClientIdentifier", values.json())

    @only_ours
    def test_mqtt5_3_1_2_28_response_information_is_sent_only_on_request(self):
        with Client() as client:
            self.assertNotIn("ResponseInformation", client.connect()[2].json())
        with Client("asks") as client:
            _, _, values = client.connect(RequestResponseInformation=1)
            self.assertEqual(values.ResponseInformation, os.environ["RESPONSE_INFORMATION"] + "asks")

    def test_mqtt5_3_1_2_29_without_problem_information_acknowledgements_have_no_reason_string(self):
        with Client() as client:
            client.connected(RequestProblemInformation=0)
            seen = []
            client.paho.on_unsubscribe = lambda _, __, mid, codes, values: seen.append(values.json())
            client.paho.unsubscribe("absent")
            deadline = time.monotonic() + 5
            while not seen and time.monotonic() < deadline:
                time.sleep(0.002)
            self.assertEqual(seen, [{}])

    def test_mqtt5_3_1_2_21_server_keep_alive_replaces_a_longer_one(self):
        limit = int(os.environ["KEEP_ALIVE_MAX"])
        with Client() as client:
            self.assertEqual(client.connect(keepalive=limit + 1)[2].ServerKeepAlive, limit)
        with Client() as client:
            self.assertNotIn("ServerKeepAlive", client.connect(keepalive=limit)[2].json())

    @only_ours
    def test_mqtt5_3_1_2_24_maximum_packet_size_is_announced(self):
        with Client() as client:
            self.assertEqual(client.connect()[2].MaximumPacketSize, int(os.environ["PACKET_SIZE_MAX"]))

    @only_ours
    def test_a_shorter_session_expiry_than_requested_is_announced(self):
        limit = int(os.environ["SESSION_EXPIRY_MAX"])
        with Client() as client:
            self.assertEqual(client.connect(SessionExpiryInterval=limit + 1)[2].SessionExpiryInterval, limit)
        with Client() as client:
            self.assertNotIn("SessionExpiryInterval", client.connect(SessionExpiryInterval=limit)[2].json())


class Lifetime(TestCase):
    def session_present(self, name, **arguments):
        with Client(name) as client:
            _, flags, _ = client.connect(clean_start=False, **arguments)
            client.disconnect()
            return flags.session_present

    def test_mqtt5_3_1_2_4_and_5_clean_start_ends_the_session_and_otherwise_it_is_resumed(self):
        name = "lifetime-clean-start"
        self.assertFalse(self.session_present(name, SessionExpiryInterval=60))
        self.assertTrue(self.session_present(name, SessionExpiryInterval=60))
        with Client(name) as client:
            _, flags, _ = client.connect(clean_start=True, SessionExpiryInterval=60)
            self.assertFalse(flags.session_present)
            client.disconnect()
        self.assertTrue(self.session_present(name))

    def test_a_session_without_expiry_ends_with_its_connection(self):
        name = "lifetime-none"
        self.assertFalse(self.session_present(name))
        self.assertFalse(self.session_present(name))

    def test_mqtt5_3_1_2_23_a_session_ends_when_its_interval_has_passed(self):
        name = "lifetime-expiry"
        self.assertFalse(self.session_present(name, SessionExpiryInterval=1))
        self.assertTrue(self.session_present(name, SessionExpiryInterval=1))
        time.sleep(1.5)  # lets the interval pass
        if IS_PEER:
            time.sleep(6)  # mosquitto checks every five seconds
        self.assertFalse(self.session_present(name))

    def test_disconnect_can_change_the_interval(self):
        name = "lifetime-disconnect"
        with Client(name).connected(SessionExpiryInterval=60) as client:
            client.disconnect(SessionExpiryInterval=0)
        time.sleep(0.5)  # the broker may read a CONNECT of another connection before this DISCONNECT
        self.assertFalse(self.session_present(name))

    @only_ours
    def test_disconnect_cannot_give_an_interval_to_a_session_that_had_none(self):
        with Client("lifetime-error").connected() as client:
            client.paho.on_disconnect = lambda *_: None
            client.disconnects.put(None)
            client.disconnect(SessionExpiryInterval=60)
        self.assertFalse(self.session_present("lifetime-error"))

    def test_messages_wait_for_a_session_in_order(self):
        name = "lifetime-queue"
        with Client(name).connected(SessionExpiryInterval=60) as client:
            client.subscribe("waiting/#", 2)
            client.disconnect()
        with Client().connected() as publisher:
            for number in range(20):
                publisher.publish("waiting/x", str(number).encode(), 1 + number % 2)
        with Client(name).connected(clean_start=False) as client:
            received = [client.message() for _ in range(20)]
            # paho delivers a QoS 2 message at PUBREL, so QoS 1 messages overtake it in the client.
            for qos, first in ((1, 0), (2, 1)):
                payloads = [message.payload for message in received if message.qos == qos]
                self.assertEqual(payloads, [str(number).encode() for number in range(first, 20, 2)])
            self.assertFalse(any(message.retain for message in received))


class Takeover(TestCase):
    def test_mqtt5_3_1_4_3_the_older_connection_gets_0x8e(self):
        older = self.new_client("takeover").connected(SessionExpiryInterval=60)
        older.subscribe("takeover/#")
        newer = self.new_client("takeover")
        code, flags, _ = newer.connect(clean_start=False)
        self.assertEqual((code.value, flags.session_present), (0, True))
        self.assertEqual(older.disconnected(), 0x8E)
        newer.publish("takeover/x", b"still subscribed")
        self.assertEqual(newer.message().payload, b"still subscribed")

    def test_with_clean_start_the_session_is_not_taken_over(self):
        older = self.new_client("takeover-clean").connected(SessionExpiryInterval=60)
        older.subscribe("takeover-clean")
        newer = self.new_client("takeover-clean")
        _, flags, _ = newer.connect(clean_start=True)
        self.assertFalse(flags.session_present)
        self.assertEqual(older.disconnected(), 0x8E)
        self.assertEqual(newer.publish("takeover-clean"), 0x10)


class Wills(TestCase):
    def setUp(self):
        self.watcher = self.new_client().connected()
        self.watcher.subscribe("wills/#")

    def doomed(self, name, delay, **arguments):
        client = Client(name).will(f"wills/{name}", b"will", 1, WillDelayInterval=delay)
        return client.connected(**arguments)

    def test_mqtt5_3_1_3_9_the_will_waits_for_its_delay(self):
        client = self.doomed("delayed", 1, SessionExpiryInterval=60)
        client.kill()
        started = time.monotonic()
        self.assertEqual(self.watcher.message().topic, "wills/delayed")
        self.assertGreaterEqual(time.monotonic() - started, 0.9)

    def test_a_client_that_reconnects_in_time_has_no_will_published(self):
        self.doomed("back", 1, SessionExpiryInterval=60).kill()
        with Client("back").connected(clean_start=False) as client:
            time.sleep(1.3)  # beyond the delay
            self.assertTrue(self.watcher.messages.empty())
            client.disconnect()
        self.watcher.nothing_else("wills/probe")

    def test_mqtt5_3_1_2_8_the_end_of_the_session_ends_the_delay(self):
        self.doomed("session-end", 60).kill()
        self.assertEqual(self.watcher.message().topic, "wills/session-end")

    def test_mqtt5_3_1_2_10_disconnect_discards_the_will(self):
        with self.doomed("polite", 0) as client:
            client.disconnect()
        self.watcher.nothing_else("wills/probe")

    def test_mqtt5_3_14_4_disconnect_with_will_message_publishes_it(self):
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.reasoncodes import ReasonCode

        with self.doomed("explicit", 0) as client:
            client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        self.assertEqual(self.watcher.message().topic, "wills/explicit")

    def test_a_takeover_publishes_the_will_of_the_session_that_clean_start_ends(self):
        older = self.doomed("taken", 60, SessionExpiryInterval=60)
        with Client("taken").connected(clean_start=True):
            self.assertEqual(self.watcher.message().topic, "wills/taken")
        self.assertEqual(older.disconnected(), 0x8E)

    def test_a_retained_will_is_retained(self):
        client = Client("retained").will("wills/retained", b"will", 1, True)
        client.connected().kill()
        self.assertFalse(self.watcher.message().retain)
        with Client().connected() as late:
            late.subscribe("wills/retained")
            self.assertTrue(late.message().retain)
            late.publish("wills/retained", b"", retain=True)


if __name__ == "__main__":
    unittest.main()
