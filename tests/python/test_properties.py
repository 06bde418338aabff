"""Properties of 5.0 that the broker forwards from publisher to subscriber."""

import time
import unittest

from mqtt_client import Client, TestCase, only_ours, publish_properties


class Forwarded(TestCase):
    def setUp(self):
        self.subscriber = self.new_client().connected()
        self.publisher = self.new_client().connected()

    def forward(self, payload=b"payload", **values):
        topic = f"properties/{self.id()}"
        self.assertEqual(self.subscriber.subscribe(topic), 2)
        self.assertEqual(self.publisher.publish(topic, payload, 2, **values), 0)
        return self.subscriber.message()

    def test_mqtt5_3_3_2_18_user_properties_keep_their_order(self):
        pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("a", "ÿ水🦀")]
        self.assertEqual(self.forward(UserProperty=pairs).properties.UserProperty, pairs)

    def test_mqtt5_3_3_2_20_content_type_is_unaltered(self):
        message = self.forward(ContentType="application/cbor; v=1")
        self.assertEqual(message.properties.ContentType, "application/cbor; v=1")

    def test_mqtt5_3_3_2_15_response_topic_and_3_3_2_16_correlation_data_are_unaltered(self):
        message = self.forward(ResponseTopic="answers/7", CorrelationData=b"\x00\xff\x00")
        self.assertEqual(message.properties.ResponseTopic, "answers/7")
        self.assertEqual(message.properties.CorrelationData, b"\x00\xff\x00")

    def test_mqtt5_3_3_2_4_payload_format_indicator_is_unaltered(self):
        message = self.forward("grüße".encode(), PayloadFormatIndicator=1)
        self.assertEqual(message.properties.PayloadFormatIndicator, 1)

    @only_ours
    def test_a_payload_that_is_not_utf8_despite_its_format_indicator_is_refused(self):
        code = self.publisher.publish("properties/format", b"\xff\xfe", 1, PayloadFormatIndicator=1)
        self.assertEqual(code, 0x99)

    def test_all_properties_at_once_with_an_empty_payload(self):
        message = self.forward(b"", ContentType="c", ResponseTopic="r", CorrelationData=b"", MessageExpiryInterval=100)
        self.assertEqual(message.payload, b"")
        names = sorted(message.properties.json())
        self.assertEqual(names, ["ContentType", "CorrelationData", "MessageExpiryInterval", "ResponseTopic"])

    def test_a_retained_message_keeps_its_properties(self):
        topic = f"properties/{self.id()}"
        self.publisher.publish(topic, b"kept", 1, retain=True, ContentType="text/plain", UserProperty=[("k", "v")])
        self.subscriber.subscribe(topic)
        message = self.subscriber.message()
        self.assertTrue(message.retain)
        self.assertEqual(message.properties.ContentType, "text/plain")
        self.assertEqual(message.properties.UserProperty, [("k", "v")])
        self.publisher.publish(topic, b"", 1, retain=True)

    def test_a_will_message_keeps_its_properties(self):
        self.subscriber.subscribe("properties/will")
        doomed = Client()
        doomed.will("properties/will", b"gone", 1, ContentType="text/plain", UserProperty=[("k", "v"), ("k", "w")],
                    ResponseTopic="r", CorrelationData=b"c", PayloadFormatIndicator=1)
        doomed.connected()
        doomed.kill()
        message = self.subscriber.message()
        self.assertEqual(message.payload, b"gone")
        self.assertEqual(message.properties.ContentType, "text/plain")
        self.assertEqual(message.properties.UserProperty, [("k", "v"), ("k", "w")])
        self.assertEqual((message.properties.ResponseTopic, message.properties.CorrelationData), ("r", b"c"))


class SubscriptionIdentifiers(TestCase):
    def setUp(self):
        self.client = self.new_client().connected()

    def test_mqtt5_3_3_4_3_a_message_carries_the_identifier_of_its_subscription(self):
        self.client.subscribe("identifiers/one", SubscriptionIdentifier=268_435_455)
        self.client.publish("identifiers/one", b"")
        self.assertEqual(self.client.message().properties.SubscriptionIdentifier, [268_435_455])

    def test_a_subscription_without_identifier_gives_none(self):
        self.client.subscribe("identifiers/none")
        self.client.publish("identifiers/none", b"")
        self.assertNotIn("SubscriptionIdentifier", self.client.message().properties.json())

    @only_ours
    def test_mqtt5_3_3_4_4_one_copy_for_overlapping_subscriptions_carries_all_identifiers_at_the_highest_qos(self):
        for identifier, filter, qos in [(1, "identifiers/+/x", 0), (2, "identifiers/#", 1), (3, "identifiers/several/x", 0)]:
            self.client.subscribe(filter, qos, SubscriptionIdentifier=identifier)
        self.client.subscribe("identifiers/several/#", 0)
        self.client.publish("identifiers/several/x", b"", 2)
        message = self.client.message()
        self.assertEqual(sorted(message.properties.SubscriptionIdentifier), [1, 2, 3])
        self.assertEqual(message.qos, 1)
        self.client.subscribe("probe")
        self.client.nothing_else("probe")

    def test_subscribing_again_replaces_the_identifier(self):
        self.client.subscribe("identifiers/again", SubscriptionIdentifier=4)
        self.client.subscribe("identifiers/again", SubscriptionIdentifier=5)
        self.client.publish("identifiers/again", b"")
        self.assertEqual(self.client.message().properties.SubscriptionIdentifier, [5])


class TopicAliases(TestCase):
    def setUp(self):
        self.subscriber = self.new_client().connected()
        self.subscriber.subscribe("aliases/#")

    def test_mqtt5_3_3_2_12_the_broker_takes_aliases_from_a_publisher(self):
        publisher = self.new_client()
        _, _, connack = publisher.connect()
        self.assertGreater(connack.TopicAliasMaximum, 1)
        publisher.publish("aliases/a", b"1", 1, TopicAlias=1)
        publisher.publish("aliases/b", b"2", 1, TopicAlias=connack.TopicAliasMaximum)
        publisher.publish("", b"3", 1, TopicAlias=1)
        publisher.publish("aliases/c", b"4", 1, TopicAlias=1)
        publisher.publish("", b"5", 1, TopicAlias=1)
        publisher.publish("", b"6", 0, TopicAlias=connack.TopicAliasMaximum)
        received = [self.subscriber.message() for _ in range(6)]
        topics = ["aliases/a", "aliases/b", "aliases/a", "aliases/c", "aliases/c", "aliases/b"]
        self.assertEqual([message.topic for message in received], topics)
        self.assertEqual([message.payload for message in received], [b"1", b"2", b"3", b"4", b"5", b"6"])

    def test_mqtt5_3_1_2_26_a_subscriber_that_allows_no_alias_gets_none(self):
        publisher = self.new_client().connected()
        for _ in range(2):
            publisher.publish("aliases/x", b"", 1, TopicAlias=1)
            message = self.subscriber.message()
            self.assertEqual(message.topic, "aliases/x")
            self.assertNotIn("TopicAlias", message.properties.json())

    @only_ours
    def test_the_broker_assigns_aliases_to_a_subscriber_that_allows_them(self):
        subscriber = self.new_client().connected(TopicAliasMaximum=1)
        subscriber.subscribe("aliases/long/#")
        first, second = f"aliases/long/{'a' * 40}", f"aliases/long/{'b' * 40}"
        for topic in (first, first, second, first):
            self.assertEqual(subscriber.publish(topic), 0)
        received = [subscriber.message() for _ in range(4)]
        known = {}
        for message, topic in zip(received, (first, first, second, first)):
            alias = getattr(message.properties, "TopicAlias", None)
            if message.topic and alias:
                known[alias] = message.topic
            self.assertIn(alias, (None, 1))
            self.assertEqual(message.topic or known[alias], topic)
        self.assertIn("", [message.topic for message in received], "no alias was used")

    @only_ours
    def test_mqtt5_3_3_2_9_an_alias_above_the_maximum_ends_the_connection(self):
        publisher = self.new_client()
        _, _, connack = publisher.connect()
        properties = publish_properties(TopicAlias=connack.TopicAliasMaximum + 1)
        publisher.paho.publish("aliases/high", b"", 0, properties=properties)
        self.assertEqual(publisher.disconnected(), 0x94)


class MessageExpiry(TestCase):
    def test_mqtt5_3_3_2_6_the_forwarded_interval_is_the_remaining_one(self):
        name = "expiry-remains"
        with Client(name).connected(SessionExpiryInterval=60) as subscriber:
            subscriber.subscribe("expiry/#", 1)
            subscriber.disconnect()
        with Client().connected() as publisher:
            publisher.publish("expiry/long", b"", 1, MessageExpiryInterval=100)
            publisher.publish("expiry/short", b"", 1, MessageExpiryInterval=1)
            publisher.publish("expiry/none", b"", 1)
        time.sleep(1.2)  # lets the interval pass
        with Client(name).connected(clean_start=False, SessionExpiryInterval=60) as subscriber:
            message = subscriber.message()
            self.assertEqual(message.topic, "expiry/long")
            self.assertIn(message.properties.MessageExpiryInterval, (98, 99))
            message = subscriber.message()
            self.assertEqual(message.topic, "expiry/none")
            self.assertNotIn("MessageExpiryInterval", message.properties.json())
            subscriber.disconnect(SessionExpiryInterval=0)

    def test_a_retained_message_expires(self):
        with Client().connected() as client:
            client.publish("expiry/retained", b"", 1, retain=False)
            client.publish("expiry/retained", b"kept", 1, retain=True, MessageExpiryInterval=1)
            client.subscribe("expiry/retained")
            message = client.message()
            self.assertEqual((message.payload, message.retain), (b"kept", True))
            time.sleep(1.2)
            client.subscribe("expiry/retained")
            client.nothing_else("expiry/retained")


if __name__ == "__main__":
    unittest.main()
