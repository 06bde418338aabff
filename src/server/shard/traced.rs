use crate::codec::{
    Ack, AliasUse, Auth, ClientPacket, Connect, Disconnect, Message, OutgoingPublish, PacketId, Publish, Qos,
    ReasonCode, ServerPacket, Subscribe, TopicAlias, shown_user_name,
};
use crate::server::log::cut;
use crate::topic::Filter;

/// The main fields of a packet for the log. It has no payload, no password and no Authentication Data.
#[derive(Debug, Default)]
pub(in crate::server) struct Traced {
    pub(super) packet: &'static str,
    pub(super) packet_id: Option<PacketId>,
    pub(super) topic: Option<String>,
    pub(super) qos: Option<u8>,
    pub(super) retain: Option<bool>,
    pub(super) dup: Option<bool>,
    pub(super) reason_code: Option<ReasonCode>,
    /// The main fields as words, each after a comma.
    pub(super) words: String,
    /// For a packet to a client: the length of the output buffer before it.
    pub(super) before: usize,
}

impl Traced {
    pub(super) fn received(packet: &ClientPacket) -> Self {
        let traced = Self { packet: packet.packet_type().name(), ..Self::default() };
        match packet {
            ClientPacket::Connect(connect) => traced.connect(connect),
            ClientPacket::Publish(publish) => traced.publish_received(publish),
            ClientPacket::Puback(ack)
            | ClientPacket::Pubrec(ack)
            | ClientPacket::Pubrel(ack)
            | ClientPacket::Pubcomp(ack) => traced.ack(ack),
            ClientPacket::Subscribe(subscribe) => traced.subscribe(subscribe),
            ClientPacket::Unsubscribe(unsubscribe) => {
                traced.with_packet_id(unsubscribe.packet_id).with_filters(unsubscribe.filters.iter())
            }
            ClientPacket::Pingreq => traced,
            ClientPacket::Disconnect(disconnect) => traced.disconnect(disconnect),
            ClientPacket::Auth(auth) => traced.auth(auth),
        }
    }

    /// Describes a packet before it is encoded into an output buffer of `before` bytes. Boxed, because it crosses the path of every packet.
    #[cold]
    pub(super) fn sent(packet: &ServerPacket, before: usize) -> Box<Self> {
        let traced = Self { packet: packet.packet_type().name(), before, ..Self::default() };
        Box::new(match packet {
            ServerPacket::Connack(connack) => {
                let present = if connack.session_present { ", Session Present" } else { "" };
                traced.with_reason_code(connack.reason_code).with(present)
            }
            ServerPacket::Publish(publish) => traced.publish_sent(publish),
            ServerPacket::Puback(ack)
            | ServerPacket::Pubrec(ack)
            | ServerPacket::Pubrel(ack)
            | ServerPacket::Pubcomp(ack) => traced.ack(ack),
            ServerPacket::Suback(suback) => {
                traced.with_packet_id(suback.packet_id).with_reason_codes(&suback.reason_codes)
            }
            ServerPacket::Unsuback(unsuback) => {
                traced.with_packet_id(unsuback.packet_id).with_reason_codes(&unsuback.reason_codes)
            }
            ServerPacket::Pingresp => traced,
            ServerPacket::Disconnect(disconnect) => traced.disconnect(disconnect),
            ServerPacket::Auth(auth) => traced.auth(auth),
        })
    }

    fn connect(self, connect: &Connect) -> Self {
        let Connect { version, is_bridge, client_id, clean_start, keep_alive, will, user_name, password, properties } =
            connect;
        let mut traced = self.with(&format!(", MQTT {}, Client Identifier {:?}", version.name(), cut(client_id)));
        if *is_bridge {
            traced = traced.with(", bridge");
        }
        if *clean_start {
            traced = traced.with(", Clean Start");
        }
        traced = traced.with(&format!(", Keep Alive {keep_alive} s"));
        if properties.session_expiry_interval > 0 {
            traced = traced.with(&format!(", Session Expiry Interval {} s", properties.session_expiry_interval));
        }
        if let Some(will) = will {
            let retain = if will.retain { ", RETAIN" } else { "" };
            let (topic, qos, bytes) = (cut(will.topic.as_str()), will.qos.level(), will.payload.len());
            traced = traced.with(&format!(", Will to {topic:?} (QoS {qos}{retain}, payload of {bytes} bytes)"));
        }
        if let Some(user_name) = user_name {
            traced = traced.with(&format!(", User Name {:?}", cut(shown_user_name(user_name))));
        }
        if password.is_some() {
            traced = traced.with(", a Password");
        }
        if let Some(method) = &properties.authentication_method {
            traced = traced.with(&format!(", Authentication Method {:?}", cut(method)));
        }
        traced
    }

    fn publish_received(self, publish: &Publish) -> Self {
        let Publish { dup, qos, retain, message, packet_id, topic_alias, .. } = publish;
        self.publish((*dup, *qos, *retain), *packet_id, *topic_alias, message)
    }

    fn publish_sent(self, publish: &OutgoingPublish) -> Self {
        let OutgoingPublish { dup, qos, retain, message, packet_id, topic_alias, .. } = publish;
        self.publish((*dup, *qos, *retain), *packet_id, *topic_alias, message)
    }

    fn publish(
        self,
        (dup, qos, retain): (bool, Qos, bool),
        packet_id: Option<PacketId>,
        topic_alias: Option<(TopicAlias, AliasUse)>,
        message: &Message,
    ) -> Self {
        let mut traced = Self { dup: Some(dup), qos: Some(qos.level()), retain: Some(retain), ..self };
        if let Some(packet_id) = packet_id {
            traced = traced.with_packet_id(packet_id);
        }
        traced = traced.with(&format!(", QoS {}", qos.level()));
        traced = traced.with(if dup { ", DUP" } else { "" }).with(if retain { ", RETAIN" } else { "" });
        match topic_alias {
            // The Topic Name is not in the packet.
            Some((alias, AliasUse::Known)) => traced = traced.with(&format!(", Topic Alias {alias}")),
            Some((alias, AliasUse::Set)) => traced = traced.with_topic(message).with(&format!(", Topic Alias {alias}")),
            None => traced = traced.with_topic(message),
        }
        traced.with(&format!(", payload of {} bytes", message.payload.len()))
    }

    fn ack(self, ack: &Ack) -> Self {
        self.with_packet_id(ack.packet_id).with_reason_code(ack.reason_code)
    }

    fn subscribe(self, subscribe: &Subscribe) -> Self {
        let traced = self.with_packet_id(subscribe.packet_id);
        let subscriptions = subscribe.subscriptions.iter();
        let traced = traced.with_filters(subscriptions.map(|subscription| &subscription.filter));
        let [subscription] = &*subscribe.subscriptions else { return traced };
        let qos = subscription.options.qos.level();
        Self { qos: Some(qos), ..traced }.with(&format!(" at QoS {qos}"))
    }

    fn disconnect(self, disconnect: &Disconnect) -> Self {
        self.with_reason_code(disconnect.reason_code)
    }

    fn auth(self, auth: &Auth) -> Self {
        let method = auth.authentication_method.as_ref();
        let method = method.map(|method| format!(", Authentication Method {:?}", cut(method)));
        self.with_reason_code(auth.reason_code).with(&method.unwrap_or_default())
    }

    fn with(mut self, words: &str) -> Self {
        self.words.push_str(words);
        self
    }

    fn with_packet_id(self, packet_id: PacketId) -> Self {
        Self { packet_id: Some(packet_id), ..self }.with(&format!(", Packet Identifier {}", packet_id.number()))
    }

    fn with_reason_code(self, reason_code: ReasonCode) -> Self {
        Self { reason_code: Some(reason_code), ..self }.with(&format!(", 0x{:02X}", reason_code.number()))
    }

    fn with_topic(self, message: &Message) -> Self {
        let topic = cut(message.topic.as_str()).into_owned();
        let words = format!(", topic {topic:?}");
        Self { topic: Some(topic), ..self }.with(&words)
    }

    /// The only filter, or the first one and how many there are.
    fn with_filters<'a>(self, mut filters: impl ExactSizeIterator<Item = &'a Filter>) -> Self {
        let count = filters.len();
        let Some(first) = filters.next().map(ToString::to_string) else { return self };
        let first = cut(&first).into_owned();
        match count {
            1 => {
                let words = format!(", filter {first:?}");
                Self { topic: Some(first), ..self }.with(&words)
            }
            count => self.with(&format!(", {count} filters, the first is {first:?}")),
        }
    }

    /// The only Reason Code, or the first ones.
    fn with_reason_codes(self, reason_codes: &[ReasonCode]) -> Self {
        if let [reason_code] = reason_codes {
            return self.with_reason_code(*reason_code);
        }
        let shown = reason_codes.iter().take(REASON_CODES_SHOWN).map(|code| format!(" 0x{:02X}", code.number()));
        let more = if reason_codes.len() > REASON_CODES_SHOWN { " …" } else { "" };
        self.with(&format!(", {} Reason Codes:{}{more}", reason_codes.len(), shown.collect::<String>()))
    }
}

/// Reason Codes of a SUBACK or UNSUBACK in a line.
const REASON_CODES_SHOWN: usize = 16;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use bytes::Bytes;

    use super::*;
    use crate::codec::{Decoder, ProtocolVersion, Suback};

    #[test]
    fn a_connect_shows_neither_password_nor_will_payload() {
        let mut decoder = Decoder::new(1_000);
        let mut bytes = Bytes::from_static(
            b"\x10\x2C\0\x04MQTT\x04\xC6\0\x3C\0\x03abc\0\x01w\0\x07payload\0\x03joe\0\x0Apassw0rd!!",
        );
        let packet = decoder.decode(&mut bytes).unwrap().unwrap();
        let traced = Traced::received(&packet);
        assert_eq!(decoder.version(), Some(ProtocolVersion::V3_1_1));
        assert_eq!(
            traced.words,
            ", MQTT 3.1.1, Client Identifier \"abc\", Clean Start, Keep Alive 60 s, \
             Will to \"w\" (QoS 0, payload of 7 bytes), User Name \"joe\", a Password"
        );
    }

    #[test]
    fn a_suback_shows_a_bounded_number_of_reason_codes() {
        let packet_id = PacketId(NonZeroU16::MIN);
        let suback = |count| {
            let reason_codes = vec![ReasonCode::GrantedQos1; count];
            Traced::sent(&ServerPacket::Suback(Box::new(Suback { packet_id, reason_codes, reason_string: None })), 0)
        };
        assert_eq!(suback(1).words, ", Packet Identifier 1, 0x01");
        assert_eq!(suback(2).words, ", Packet Identifier 1, 2 Reason Codes: 0x01 0x01");
        assert!(suback(60_000).words.len() < 150);
    }
}
