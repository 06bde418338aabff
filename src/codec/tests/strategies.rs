use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::*;
use crate::codec::*;
use crate::topic::{Filter, TopicName};

/// A version, and a packet that a Client can send in it.
pub(super) fn client_packet() -> impl Strategy<Value = (ProtocolVersion, ClientPacket)> {
    version().prop_flat_map(|version| (Just(version), client_packet_in(version)))
}

/// A version, and a packet that a Server can send in it.
pub(super) fn server_packet() -> impl Strategy<Value = (ProtocolVersion, ServerPacket)> {
    version().prop_flat_map(|version| (Just(version), server_packet_in(version)))
}

/// A version, and bytes that are a Client's packet, a slightly altered one, or arbitrary.
pub(super) fn frame_like() -> impl Strategy<Value = (ProtocolVersion, Vec<u8>)> {
    like(|| {
        client_packet().prop_map(|(version, packet)| {
            let mut output = BytesMut::new();
            encode_client(&packet, version, &mut output);
            (version, output.to_vec())
        })
    })
}

/// The same for packets of a Server.
pub(super) fn server_frame_like() -> impl Strategy<Value = (ProtocolVersion, Vec<u8>)> {
    like(|| {
        server_packet().prop_map(|(version, packet)| {
            let mut output = BytesMut::new();
            encode(&packet, version, &mut output);
            (version, output.to_vec())
        })
    })
}

/// Packets, packets with some bytes changed, arbitrary bytes behind a fixed header, and arbitrary bytes.
fn like<S>(encoded: impl Fn() -> S) -> impl Strategy<Value = (ProtocolVersion, Vec<u8>)>
where
    S: Strategy<Value = (ProtocolVersion, Vec<u8>)>,
{
    let changed = (encoded(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..4));
    let changed = changed.prop_map(|((version, mut frame), changes)| {
        for (index, byte) in changes {
            let index = index.index(frame.len());
            frame[index] = byte;
        }
        (version, frame)
    });
    let random = (version(), any::<u8>(), vec(any::<u8>(), 0..40));
    let random = random.prop_map(|(version, first_byte, body)| (version, packet(first_byte, &[&body])));
    prop_oneof![1 => encoded(), 4 => changed, 2 => random, 1 => (version(), vec(any::<u8>(), 0..40))]
}

fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![1 => Just(V3_1), 3 => Just(V3), 4 => Just(V5)]
}

fn client_packet_in(version: ProtocolVersion) -> BoxedStrategy<ClientPacket> {
    let ack = move |packet_type| ack(version, packet_type);
    let of_all_versions = prop_oneof![
        2 => connect(version).prop_map(|connect| ClientPacket::Connect(Box::new(connect))),
        4 => publish(version).prop_map(ClientPacket::Publish),
        1 => ack(PacketType::Puback).prop_map(ClientPacket::Puback),
        1 => ack(PacketType::Pubrec).prop_map(ClientPacket::Pubrec),
        1 => ack(PacketType::Pubrel).prop_map(ClientPacket::Pubrel),
        1 => ack(PacketType::Pubcomp).prop_map(ClientPacket::Pubcomp),
        3 => subscribe(version).prop_map(|subscribe| ClientPacket::Subscribe(Box::new(subscribe))),
        2 => unsubscribe(version).prop_map(|unsubscribe| ClientPacket::Unsubscribe(Box::new(unsubscribe))),
        1 => Just(ClientPacket::Pingreq),
    ];
    if version != V5 {
        let disconnect = ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection)));
        return prop_oneof![8 => of_all_versions, 1 => Just(disconnect)].boxed();
    }
    let disconnect = (disconnect(), of(any::<u32>())).prop_map(|(disconnect, session_expiry_interval)| {
        ClientPacket::Disconnect(Box::new(Disconnect { session_expiry_interval, ..disconnect }))
    });
    let auth = auth().prop_map(|auth| ClientPacket::Auth(Box::new(auth)));
    prop_oneof![8 => of_all_versions, 1 => disconnect, 1 => auth].boxed()
}

fn server_packet_in(version: ProtocolVersion) -> BoxedStrategy<ServerPacket> {
    let ack = move |packet_type| {
        (ack(version, packet_type), of((of(text()), user_properties()))).prop_map(move |(mut ack, details)| {
            let details = details.map(|(reason_string, user_properties)| AckDetails {
                reason_string,
                user_properties,
                late: None,
            });
            ack.details = details.filter(|details| version == V5 && *details != AckDetails::default()).map(Box::new);
            ack
        })
    };
    let of_all_versions = prop_oneof![
        4 => outgoing_publish(version).prop_map(ServerPacket::Publish),
        1 => ack(PacketType::Puback).prop_map(ServerPacket::Puback),
        1 => ack(PacketType::Pubrec).prop_map(ServerPacket::Pubrec),
        1 => ack(PacketType::Pubrel).prop_map(ServerPacket::Pubrel),
        1 => ack(PacketType::Pubcomp).prop_map(ServerPacket::Pubcomp),
        1 => Just(ServerPacket::Pingresp),
    ];
    if version != V5 {
        return prop_oneof![8 => of_all_versions, 3 => control_before_5(version)].boxed();
    }
    let connack = connack().prop_map(|connack| ServerPacket::Connack(Box::new(connack)));
    let codes = |packet_type| (packet_id(), vec(reason_code(packet_type), 1..4), of(text()));
    let suback = codes(PacketType::Suback).prop_map(|(packet_id, reason_codes, reason_string)| {
        ServerPacket::Suback(Box::new(Suback { packet_id, reason_codes, reason_string }))
    });
    let unsuback = codes(PacketType::Unsuback).prop_map(|(packet_id, reason_codes, reason_string)| {
        ServerPacket::Unsuback(Box::new(Unsuback { packet_id, reason_codes, reason_string }))
    });
    let disconnect = (disconnect(), of(text())).prop_map(|(disconnect, server_reference)| {
        ServerPacket::Disconnect(Box::new(Disconnect { server_reference, ..disconnect }))
    });
    let auth = auth().prop_map(|auth| ServerPacket::Auth(Box::new(auth)));
    prop_oneof![6 => of_all_versions, 3 => connack, 1 => suback, 1 => unsuback, 1 => disconnect, 1 => auth].boxed()
}

/// Packets that 3.1 and 3.1.1 can represent.
fn control_before_5(version: ProtocolVersion) -> impl Strategy<Value = ServerPacket> {
    use ReasonCode as Code;
    let refusals = [
        Code::UnsupportedProtocolVersion,
        Code::ClientIdentifierNotValid,
        Code::ServerUnavailable,
        Code::BadUserNameOrPassword,
        Code::NotAuthorized,
    ];
    let granted = [Code::GrantedQos0, Code::GrantedQos1, Code::GrantedQos2, Code::UnspecifiedError];
    prop_oneof![
        any::<bool>().prop_map(move |present| {
            ServerPacket::Connack(Box::new(Connack::accepted(present && version != V3_1)))
        }),
        prop::sample::select(refusals.to_vec())
            .prop_map(|code| ServerPacket::Connack(Box::new(Connack::refused(code)))),
        (packet_id(), vec(prop::sample::select(granted.to_vec()), 1..4))
            .prop_map(|(packet_id, codes)| ServerPacket::Suback(Box::new(Suback::new(packet_id, codes)))),
        packet_id().prop_map(|packet_id| ServerPacket::Unsuback(Box::new(Unsuback::new(packet_id, vec![])))),
    ]
}

prop_compose! {
    pub(super) fn connect(version: ProtocolVersion)(
        client_id in "[a-z]{1,5}",
        clean_start in any::<bool>(),
        keep_alive in any::<u16>(),
        will in of(will(version)),
        user_name in of(text()),
        password in of(binary()),
        properties in connect_properties(),
    ) -> Connect {
        let mut connect = Connect::new(version, client_id, clean_start);
        connect.keep_alive = keep_alive;
        connect.will = will;
        connect.password = password.filter(|_| version == V5 || user_name.is_some());
        connect.user_name = user_name;
        if version == V5 {
            connect.properties = properties;
        }
        connect
    }
}

prop_compose! {
    fn connect_properties()(
        session_expiry_interval in any::<u32>(),
        receive_maximum in 1u16..,
        maximum_packet_size in any::<u32>(),
        topic_alias_maximum in any::<u16>(),
        informations in any::<(bool, bool)>(),
        user_properties in encoded_user_properties(),
        authentication in of((text(), of(binary()))),
    ) -> ConnectProperties {
        let (authentication_method, authentication_data) = authentication.unzip();
        ConnectProperties {
            session_expiry_interval,
            receive_maximum: NonZeroU16::new(receive_maximum).unwrap(),
            maximum_packet_size: NonZeroU32::new(maximum_packet_size),
            topic_alias_maximum,
            request_response_information: informations.0,
            request_problem_information: informations.1,
            user_properties,
            authentication_method,
            authentication_data: authentication_data.flatten(),
        }
    }
}

prop_compose! {
    fn will(version: ProtocolVersion)(
        topic in topic_name(),
        payload in binary(),
        qos in qos(),
        retain in any::<bool>(),
        will_delay_interval in any::<u32>(),
        message_expiry_interval in of(any::<u32>()),
        properties in message_properties(),
    ) -> Will {
        let plain = Will {
            topic,
            payload,
            qos,
            retain,
            will_delay_interval: 0,
            message_expiry_interval: None,
            properties: MessageProperties::default(),
        };
        if version == V5 { Will { will_delay_interval, message_expiry_interval, properties, ..plain } } else { plain }
    }
}

prop_compose! {
    fn publish(version: ProtocolVersion)(
        dup in any::<bool>(),
        qos in qos(),
        retain in any::<bool>(),
        topic in topic_name(),
        with_topic in any::<bool>(),
        packet_id in packet_id(),
        topic_alias in any::<u16>(),
        message_expiry_interval in of(any::<u32>()),
        properties in message_properties(),
        payload in binary(),
    ) -> Publish {
        let plain = Publish {
            dup: dup && qos > Qos::AtMostOnce,
            qos,
            retain,
            packet_id: (qos > Qos::AtMostOnce).then_some(packet_id),
            ..Publish::new(topic, payload)
        };
        if version != V5 {
            return plain;
        }
        let alias_use = if with_topic { AliasUse::Set } else { AliasUse::Known };
        let topic_alias = NonZeroU16::new(topic_alias).map(|alias| (alias, alias_use));
        let mut publish = Publish { topic_alias, message_expiry_interval, ..plain }.with_properties(properties);
        if matches!(topic_alias, Some((_, AliasUse::Known))) {
            Arc::make_mut(&mut publish.message).topic = TopicName::unresolved();
        }
        publish
    }
}

prop_compose! {
    fn outgoing_publish(version: ProtocolVersion)(
        publish in publish(version),
        topic in topic_name(),
        subscription_ids in vec(1u32..=268_435_455, 0..4),
    ) -> OutgoingPublish {
        let message = Message { topic, ..Message::clone(&publish.message) };
        let subscription_ids = subscription_ids.into_iter().filter(|_| version == V5);
        OutgoingPublish {
            topic_start: 0,
            message: Arc::new(message),
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            topic_alias: publish.topic_alias.map(|(alias, _)| (alias, AliasUse::Set)),
            message_expiry_interval: publish.message_expiry_interval,
            matched: Matched::new(subscription_ids.map(|id| NonZeroU32::new(id).unwrap()).collect(), None),
            message_id: false,
        }
    }
}

prop_compose! {
    fn subscribe(version: ProtocolVersion)(
        packet_id in packet_id(),
        subscription_id in of(1u32..=268_435_455),
        user_properties in encoded_user_properties(),
        subscriptions in vec((filter(), 0u8..=2, any::<(bool, bool)>(), 0u8..=2), 1..4),
    ) -> Subscribe {
        let subscription = |(filter, qos, (no_local, retain_as_published), handling): (Filter, u8, (bool, bool), u8)| {
            let plain = SubscriptionOptions::new(Qos::new(qos).unwrap());
            let no_local = no_local && filter.share.is_none();
            let retain_handling = match handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            };
            let full = SubscriptionOptions { no_local, retain_as_published, retain_handling, ..plain };
            Subscription { filter, options: if version == V5 { full } else { plain } }
        };
        Subscribe {
            packet_id,
            subscription_id: subscription_id.filter(|_| version == V5).and_then(NonZeroU32::new),
            user_properties: if version == V5 { user_properties } else { EncodedUserProperties::new() },
            subscriptions: subscriptions.into_iter().map(subscription).collect(),
        }
    }
}

prop_compose! {
    fn unsubscribe(version: ProtocolVersion)(
        packet_id in packet_id(),
        user_properties in encoded_user_properties(),
        filters in vec(filter(), 1..4),
    ) -> Unsubscribe {
        Unsubscribe { packet_id, user_properties: if version == V5 { user_properties } else { EncodedUserProperties::new() }, filters }
    }
}

prop_compose! {
    fn disconnect()(
        reason_code in reason_code(PacketType::Disconnect),
        reason_string in of(text()),
        user_properties in encoded_user_properties(),
    ) -> Disconnect {
        Disconnect { reason_string, user_properties, ..Disconnect::new(reason_code) }
    }
}

prop_compose! {
    fn auth()(
        reason_code in reason_code(PacketType::Auth),
        method in text(),
        authentication_data in of(binary()),
        reason_string in of(text()),
        user_properties in encoded_user_properties(),
    ) -> Auth {
        Auth { authentication_data, reason_string, user_properties, ..Auth::new(reason_code, Some(method)) }
    }
}

prop_compose! {
    fn connack()(
        session_present in any::<bool>(),
        reason_code in reason_code(PacketType::Connack),
        numbers in (of(any::<u32>()), any::<u16>(), any::<u32>(), any::<u16>(), of(any::<u16>())),
        maximum_qos in qos(),
        available in any::<[bool; 4]>(),
        strings in (of(text()), of(text()), of(text()), of(text()), of(text())),
        authentication_data in of(binary()),
        user_properties in user_properties(),
    ) -> Connack {
        let properties = ConnackProperties {
            session_expiry_interval: numbers.0,
            receive_maximum: NonZeroU16::new(numbers.1),
            maximum_qos,
            retain_available: available[0],
            maximum_packet_size: NonZeroU32::new(numbers.2),
            assigned_client_identifier: strings.0,
            topic_alias_maximum: numbers.3,
            reason_string: strings.1,
            user_properties,
            wildcard_subscription_available: available[1],
            subscription_identifiers_available: available[2],
            shared_subscription_available: available[3],
            server_keep_alive: numbers.4,
            response_information: strings.2,
            server_reference: strings.3,
            authentication_method: strings.4,
            authentication_data,
        };
        Connack { session_present, reason_code, properties }
    }
}

fn ack(version: ProtocolVersion, packet_type: PacketType) -> impl Strategy<Value = Ack> {
    (packet_id(), reason_code(packet_type)).prop_map(move |(packet_id, reason_code)| {
        Ack::new(packet_id, if version == V5 { reason_code } else { ReasonCode::Success })
    })
}

fn reason_code(packet_type: PacketType) -> impl Strategy<Value = ReasonCode> {
    let codes = (0..=0xFF).filter_map(ReasonCode::new).filter(|code| code.is_valid_in(packet_type));
    prop::sample::select(codes.collect::<Vec<_>>())
}

/// Each property at most once, in any order, and User Properties.
pub(super) fn message_properties() -> impl Strategy<Value = MessageProperties> {
    let single = (of(any::<bool>()), of(text()), of(topic_name()), of(binary()));
    let single = single.prop_map(|(format, content_type, response_topic, correlation_data)| {
        [
            format.map(MessageProperty::PayloadFormatIndicator),
            content_type.map(MessageProperty::ContentType),
            response_topic.map(|topic| MessageProperty::ResponseTopic(topic.as_str().into())),
            correlation_data.map(MessageProperty::CorrelationData),
        ]
    });
    let all = (single, user_properties()).prop_map(|(single, user_properties)| {
        let user_properties = user_properties.into_iter();
        let user_properties = user_properties.map(|(name, value)| MessageProperty::UserProperty(name, value));
        single.into_iter().flatten().chain(user_properties).collect::<Vec<_>>()
    });
    all.prop_shuffle().prop_map(MessageProperties::from_properties)
}

fn user_properties() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..3)
}

fn encoded_user_properties() -> impl Strategy<Value = EncodedUserProperties> {
    user_properties().prop_map(|properties| properties.into_iter().collect())
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1u16..).prop_map(|number| PacketId::new(number).unwrap())
}

fn qos() -> impl Strategy<Value = Qos> {
    (0u8..=2).prop_map(|level| Qos::new(level).unwrap())
}

fn topic_name() -> impl Strategy<Value = TopicName> {
    let names = vec(character(), 1..8).prop_map(|name| name.into_iter().collect::<String>().replace(['+', '#'], "/"));
    names.prop_map(|name| TopicName::new(name.into()).unwrap())
}

pub(super) fn filter() -> impl Strategy<Value = Filter> {
    let filters = ["a", "a/b", "/", "+", "#", "a/+/b", "é/#", "$SYS/#", "$share/g/a/+", "$share/group/#", "$share"];
    prop::sample::select(filters.to_vec()).prop_map(|filter| Filter::new(filter.into()).unwrap())
}

fn text() -> impl Strategy<Value = ByteString> {
    vec(character(), 0..8).prop_map(|text| text.into_iter().collect::<String>().into())
}

fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        Just('a'),
        Just('/'),
        any::<char>().prop_map(|character| if character == '\0' { '+' } else { character })
    ]
}

/// Sometimes longer than a one-byte length can represent.
fn binary() -> impl Strategy<Value = Bytes> {
    prop_oneof![9 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 120..300)].prop_map(Bytes::from)
}
