"""Receivers of messages, and reason codes for the publisher."""

import collections
import unittest

from paho.mqtt.subscribeoptions import SubscribeOptions

from mqtt_client import Client, TestCase


class ReasonCodes(TestCase):
    def setUp(self):
        self.client = self.new_client().connected()

    def test_mqtt5_3_4_2_1_puback_reports_no_matching_subscribers(self):
        self.assertEqual(self.client.publish("reason/nobody", b"", 1), 0x10)

    def test_puback_and_pubcomp_succeed_with_a_matching_subscription(self):
        self.client.subscribe("reason/somebody", 0)
        self.assertEqual(self.client.publish("reason/somebody", b"", 1), 0)
        self.assertEqual(self.client.publish("reason/somebody", b"", 2), 0)

    def test_mqtt5_3_11_3_unsuback_has_a_code_for_each_filter(self):
        self.client.subscribe("reason/there")
        self.assertEqual(self.client.unsubscribe(["reason/absent", "reason/there", "reason/there"]), [0x11, 0, 0x11])

    def test_mqtt5_3_9_3_suback_grants_the_requested_qos(self):
        for qos in (0, 1, 2):
            self.assertEqual(self.client.subscribe(f"reason/{qos}", qos), qos)


class Subscriptions(TestCase):
    def setUp(self):
        self.client = self.new_client().connected()
        self.other = self.new_client().connected()
        self.topic = f"subscriptions/{self.id()}"

    def tearDown(self):
        self.other.publish(self.topic, b"", 1, retain=True)

    def test_the_lower_of_both_qos_is_delivered(self):
        for granted in (0, 1, 2):
            self.client.subscribe(self.topic, granted)
            for published in (0, 1, 2):
                self.other.publish(self.topic, b"", published)
                self.assertEqual(self.client.message().qos, min(granted, published))

    def test_mqtt5_3_8_3_3_no_local_suppresses_own_messages(self):
        self.client.subscribe(self.topic, no_local=True)
        self.client.publish(self.topic, b"own")
        self.other.publish(self.topic, b"foreign")
        self.assertEqual(self.client.message().payload, b"foreign")

    def test_mqtt5_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error(self):
        options = SubscribeOptions(1, noLocal=True)
        self.client.paho.subscribe(f"$share/group/{self.topic}", options=options)
        self.assertEqual(self.client.disconnected(), 0x82)

    def test_mqtt5_3_3_1_12_and_13_retain_as_published(self):
        self.client.subscribe(self.topic)
        self.other.publish(self.topic, b"1", retain=True)
        self.assertFalse(self.client.message().retain)
        self.client.subscribe(self.topic, retain_as_published=True, retain_handling=2)
        self.other.publish(self.topic, b"2", retain=True)
        self.assertTrue(self.client.message().retain)
        self.other.publish(self.topic, b"3")
        self.assertFalse(self.client.message().retain)

    def test_mqtt5_3_3_1_9_retain_handling_0_sends_retained_messages_with_every_subscribe(self):
        self.other.publish(self.topic, b"kept", retain=True)
        for _ in range(2):
            self.client.subscribe(self.topic, retain_handling=0)
            message = self.client.message()
            self.assertEqual((message.payload, message.retain), (b"kept", True))

    def test_mqtt5_3_3_1_10_retain_handling_1_sends_them_if_the_subscription_is_new(self):
        self.other.publish(self.topic, b"kept", retain=True)
        self.client.subscribe(self.topic, retain_handling=1)
        self.assertEqual(self.client.message().payload, b"kept")
        self.client.subscribe(self.topic, retain_handling=1)
        self.client.nothing_else(self.topic)
        self.client.unsubscribe([self.topic])
        self.client.subscribe(self.topic, retain_handling=1)
        self.assertEqual(self.client.message().payload, b"kept")

    def test_mqtt5_3_3_1_11_retain_handling_2_sends_none(self):
        self.other.publish(self.topic, b"kept", retain=True)
        self.client.subscribe(self.topic, retain_handling=2)
        self.client.nothing_else(self.topic)

    def test_mqtt5_4_7_2_1_wildcards_do_not_match_dollar_topics(self):
        self.client.subscribe("#")
        self.client.subscribe("+/dollar")
        self.other.publish("$dollar/dollar", b"")
        self.client.nothing_else(self.topic)
        self.client.subscribe("$dollar/#")
        self.other.publish("$dollar/dollar", b"")
        self.assertEqual(self.client.message().topic, "$dollar/dollar")


class SharedSubscriptions(TestCase):
    def test_each_message_goes_to_one_member_and_every_member_gets_some(self):
        members = [self.new_client().connected() for _ in range(3)]
        plain = self.new_client().connected()
        publisher = self.new_client().connected()
        for member in members:
            self.assertEqual(member.subscribe("$share/group/shared/+"), 2)
        plain.subscribe("shared/#")
        payloads = [str(number).encode() for number in range(60)]
        for number, payload in enumerate(payloads):
            publisher.publish("shared/topic", payload, number % 3)
        everything = collections.Counter(plain.message().payload for _ in payloads)
        self.assertEqual(everything, collections.Counter(payloads))
        received = collections.Counter()
        for member in members:
            own = []
            member.subscribe("shared-end")
            publisher.publish("shared-end", b"", 2)
            while (message := member.message()).topic != "shared-end":
                own.append(message.payload)
            member.unsubscribe(["shared-end"])
            self.assertGreater(len(own), 0)
            for qos in (0, 1, 2):  # paho delivers QoS 2 at PUBREL, after later messages of lower QoS
                numbers = [number for number in map(int, own) if number % 3 == qos]
                self.assertEqual(numbers, sorted(numbers), f"order at QoS {qos}")
            received.update(own)
        self.assertEqual(received, everything)

    def test_groups_are_separate_and_a_former_member_gets_nothing(self):
        first, second, other = [self.new_client().connected() for _ in range(3)]
        first.subscribe("$share/g1/groups")
        second.subscribe("$share/g1/groups")
        other.subscribe("$share/g2/groups")
        self.assertEqual(first.unsubscribe(["$share/g1/groups", "$share/g2/groups", "groups"]), [0, 0x11, 0x11])
        for payload in (b"1", b"2"):
            other.publish("groups", payload)
            self.assertEqual(second.message().payload, payload)
            self.assertEqual(other.message().payload, payload)
        self.assertTrue(first.messages.empty())

    def test_mqtt5_4_8_2_messages_in_flight_to_a_member_that_ends_go_to_another(self):
        leaving = self.new_client(manual_ack=True).connected(ReceiveMaximum=1)
        staying = self.new_client().connected()
        leaving.subscribe("$share/heirs/estate", 1)
        for payload in (b"1", b"2", b"3"):
            staying.publish("estate", payload, 1)
        self.assertEqual(leaving.message().payload, b"1")
        staying.subscribe("$share/heirs/estate", 1)
        leaving.disconnect()
        self.assertEqual([staying.message().payload for _ in range(3)], [b"1", b"2", b"3"])

    def test_retained_messages_are_not_sent_to_a_shared_subscription(self):
        with Client().connected() as client:
            client.publish("shared-retained", b"kept", retain=True)
            client.subscribe("$share/group/shared-retained")
            client.subscribe("probe/shared-retained")
            client.nothing_else("probe/shared-retained")
            client.publish("shared-retained", b"", retain=True)


class FlowControl(TestCase):
    def test_mqtt5_3_3_4_9_no_more_than_receive_maximum_is_in_flight(self):
        slow = self.new_client(manual_ack=True).connected(ReceiveMaximum=2)
        slow.subscribe("flow", 1)
        publisher = self.new_client().connected()
        for number in range(5):
            publisher.publish("flow", str(number).encode(), 1)
        first, second = slow.message(), slow.message()
        self.assertEqual([first.payload, second.payload], [b"0", b"1"])
        publisher.publish("flow", b"QoS 0 passes", 0)
        self.assertEqual(slow.message().payload, b"QoS 0 passes")
        slow.nothing_else()
        slow.paho.ack(first.mid, 1)
        third = slow.message()
        slow.nothing_else()
        for message in (second, third):
            slow.paho.ack(message.mid, 1)
        self.assertEqual([message.payload for message in (third, slow.message(), slow.message())], [b"2", b"3", b"4"])

    def test_mqtt5_3_1_2_24_a_message_above_maximum_packet_size_is_not_sent_and_the_next_is(self):
        small = self.new_client().connected(MaximumPacketSize=60, ReceiveMaximum=1)
        small.subscribe("size", 1)
        publisher = self.new_client().connected()
        for qos in (0, 1):
            publisher.publish("size", b"." * 100, qos)
            publisher.publish("size", b"fits", qos)
            self.assertEqual(small.message().payload, b"fits")


if __name__ == "__main__":
    unittest.main()
