//! A connection of the probe: packets in, packets out.

use std::fs;
use std::io;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::error::{ProbeError, in_words};
use super::plan::Plan;
use super::transport::{Transport, open};
use crate::codec::{
    Ack, ClientPacket, Connect, Disconnect, EncodedUserProperties, PacketId, ProtocolVersion, Publish, Qos, ReasonCode,
    ServerPacket, Subscribe, Subscription, SubscriptionOptions,
};
use crate::server::bans::Bans;
use crate::server::packet_link::{PacketLink, Reading};
use crate::topic::{Filter, TopicName};

/// A connection that is subscribed to the topic of the probe.
pub(super) struct Link {
    /// What was not sent yet is at most the messages of a round and an answer.
    packets: PacketLink<Box<dyn Transport>>,
    topic: TopicName,
    /// The highest QoS that the broker allows.
    maximum_qos: Qos,
    /// `None`: no Keep Alive.
    keep_alive: Option<Duration>,
    sent: Instant,
}

/// What arrived that concerns the messages of the probe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The message with this number, at this QoS; whether it is marked as a repeat.
    Message { number: u64, qos: Qos, is_resend: bool },
    /// A message is acknowledged completely, or refused for a reason.
    Acknowledged { qos: Qos, refused: Option<String> },
}

impl Link {
    /// Connects, and subscribes to the topic.
    pub(super) async fn connect(plan: &Plan, bans: &Bans) -> Result<Self, ProbeError> {
        let stream = open(&plan.target, &plan.settings, bans).await?;
        let mut link = Self {
            packets: PacketLink::new(stream, VERSION, PACKET_MAX.get()),
            topic: plan.topic.clone(),
            maximum_qos: Qos::ExactlyOnce,
            keep_alive: None,
            sent: Instant::now(),
        };
        let connect = connect_packet(plan)?;
        link.keep_alive = seconds(connect.keep_alive);
        link.send(&ClientPacket::Connect(Box::new(connect))).await?;
        link.await_connack().await?;
        link.subscribe().await?;
        Ok(link)
    }

    async fn await_connack(&mut self) -> Result<(), ProbeError> {
        loop {
            // The decoder lets nothing precede it but AUTH, for which the probe didn't ask.
            let ServerPacket::Connack(connack) = self.receive_packet().await? else { continue };
            let properties = connack.properties;
            if connack.reason_code.is_error() {
                return Err(ProbeError::Refused(connack.reason_code, text(properties.reason_string.as_deref())));
            }
            self.maximum_qos = properties.maximum_qos;
            if let Some(keep_alive) = properties.server_keep_alive {
                self.keep_alive = seconds(keep_alive); // [MQTT-3.1.2-21]
            }
            return Ok(());
        }
    }

    async fn subscribe(&mut self) -> Result<(), ProbeError> {
        let wrong = |_| ProbeError::Lost(io::ErrorKind::InvalidInput.into());
        let filter = Filter::new(self.topic.as_str().into()).map_err(wrong)?;
        let subscribe = Subscribe {
            packet_id: id_of(Qos::AtMostOnce),
            subscription_id: None,
            user_properties: EncodedUserProperties::new(),
            subscriptions: vec![Subscription { filter, options: SubscriptionOptions::new(Qos::ExactlyOnce) }],
        };
        self.send(&ClientPacket::Subscribe(Box::new(subscribe))).await?;
        loop {
            let ServerPacket::Suback(suback) = self.receive_packet().await? else { continue };
            return match suback.reason_codes.first() {
                Some(code) if code.is_error() => Err(ProbeError::SubscriptionRefused {
                    topic: self.topic.as_str().to_owned(),
                    code: *code,
                    reason: text(suback.reason_string.as_deref()),
                }),
                Some(_) | None => Ok(()),
            };
        }
    }

    /// The QoS at which the probe publishes, from the lowest.
    pub(super) fn qos(&self) -> impl Iterator<Item = Qos> + use<> {
        (0..=self.maximum_qos.level()).filter_map(Qos::new)
    }

    /// Publishes the message with this number. It expires after `lifetime`.
    pub(super) async fn publish(&mut self, qos: Qos, number: u64, lifetime: Duration) -> Result<(), ProbeError> {
        let mut publish = Publish::new(self.topic.clone(), number.to_string());
        publish.qos = qos;
        publish.packet_id = (qos > Qos::AtMostOnce).then(|| id_of(qos));
        publish.message_expiry_interval = u32::try_from(lifetime.as_millis().div_ceil(1_000)).ok();
        self.send(&ClientPacket::Publish(publish)).await
    }

    /// Waits for something that concerns the messages, answers what has to be answered, and keeps the connection alive. It can be dropped
    /// at any time without a loss.
    pub(super) async fn receive(&mut self) -> Result<Arrival, ProbeError> {
        loop {
            self.flush().await?;
            let packet = match self.keep_alive {
                None => self.receive_packet().await?,
                Some(keep_alive) => {
                    let idle = (keep_alive / 2).saturating_sub(self.sent.elapsed());
                    match timeout(idle, self.receive_packet()).await {
                        Ok(packet) => packet?,
                        Err(_) => {
                            self.send(&ClientPacket::Pingreq).await?; // [MQTT-3.1.2-20]
                            continue;
                        }
                    }
                }
            };
            if let Some(arrival) = self.handle(packet).await? {
                return Ok(arrival);
            }
        }
    }

    /// Answers a packet. Returns what it means for the messages.
    async fn handle(&mut self, packet: ServerPacket) -> Result<Option<Arrival>, ProbeError> {
        match packet {
            ServerPacket::Publish(publish) => {
                match (publish.qos, publish.packet_id) {
                    (Qos::AtLeastOnce, Some(id)) => self.send(&ClientPacket::Puback(success(id))).await?,
                    (Qos::ExactlyOnce, Some(id)) => self.send(&ClientPacket::Pubrec(success(id))).await?,
                    (Qos::AtMostOnce | Qos::AtLeastOnce | Qos::ExactlyOnce, _) => {}
                }
                let number = number_in(&publish.message.payload);
                Ok(number.map(|number| Arrival::Message { number, qos: publish.qos, is_resend: publish.dup }))
            }
            ServerPacket::Pubrel(ack) => {
                self.send(&ClientPacket::Pubcomp(success(ack.packet_id))).await?;
                Ok(None)
            }
            ServerPacket::Pubrec(ack) if !ack.reason_code.is_error() => {
                self.send(&ClientPacket::Pubrel(success(ack.packet_id))).await?;
                Ok(None)
            }
            ServerPacket::Puback(ack) => Ok(Some(acknowledged(Qos::AtLeastOnce, &ack))),
            ServerPacket::Pubrec(ack) | ServerPacket::Pubcomp(ack) => Ok(Some(acknowledged(Qos::ExactlyOnce, &ack))),
            ServerPacket::Connack(_)
            | ServerPacket::Suback(_)
            | ServerPacket::Unsuback(_)
            | ServerPacket::Pingresp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => Ok(None),
        }
    }

    async fn send(&mut self, packet: &ClientPacket) -> Result<(), ProbeError> {
        self.packets.send(packet);
        self.sent = Instant::now();
        self.flush().await
    }

    /// Sends what is left. It can be dropped at any time without a loss.
    async fn flush(&mut self) -> Result<(), ProbeError> {
        while !self.packets.is_flushed() {
            self.packets.step(Reading::Paused).await?;
        }
        Ok(())
    }

    /// Whether the broker does not take what the probe sends.
    pub(super) fn is_stuck(&self) -> bool {
        self.packets.unsent() > 0
    }

    /// The next packet; DISCONNECT is an error.
    async fn receive_packet(&mut self) -> Result<ServerPacket, ProbeError> {
        loop {
            match self.packets.next_packet()? {
                Some(ServerPacket::Disconnect(end)) => {
                    return Err(ProbeError::Disconnected(end.reason_code, text(end.reason_string.as_deref())));
                }
                Some(packet) => return Ok(packet),
                None => self.packets.step(Reading::On).await?,
            }
        }
    }

    /// Ends the session and the connection, if the broker does its part in a short time.
    pub(super) async fn finish(mut self) {
        let ending = async {
            let mut disconnect = Disconnect::new(ReasonCode::NormalDisconnection);
            disconnect.session_expiry_interval = Some(0);
            self.packets.send(&ClientPacket::Disconnect(Box::new(disconnect)));
            self.packets.finish().await
        };
        let _ended_or_not = timeout(FINISH_TIMEOUT, ending).await;
    }
}

fn connect_packet(plan: &Plan) -> Result<Connect, ProbeError> {
    let settings = &plan.settings;
    let mut connect = Connect::new(VERSION, settings.client_id.as_str(), true);
    connect.keep_alive = u16::try_from(settings.interval.as_secs() * 3).unwrap_or(u16::MAX);
    connect.properties.session_expiry_interval = SESSION_EXPIRY;
    connect.properties.receive_maximum = RECEIVE_MAXIMUM;
    connect.properties.maximum_packet_size = Some(PACKET_MAX);
    connect.user_name = settings.user_name.as_deref().map(Into::into);
    connect.password = settings.password_file.as_deref().map(password).transpose()?;
    Ok(connect)
}

/// The first line of the file.
fn password(path: &Path) -> Result<Bytes, ProbeError> {
    let fail = |source| ProbeError::File { path: path.to_owned(), source };
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(fail)?;
    io::Read::read_to_end(&mut io::Read::take(file, PASSWORD_MAX), &mut text).map_err(fail)?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line)))
}

fn acknowledged(qos: Qos, ack: &Ack) -> Arrival {
    let reason = ack.details.as_ref().and_then(|details| details.reason_string.as_deref());
    Arrival::Acknowledged { qos, refused: ack.reason_code.is_error().then(|| in_words(ack.reason_code, reason)) }
}

const fn success(id: PacketId) -> Ack {
    Ack::new(id, ReasonCode::Success)
}

/// The Packet Identifier of the message of this QoS, and of the SUBSCRIBE: there is one of each at a time.
fn id_of(qos: Qos) -> PacketId {
    PacketId(NonZeroU16::MIN.saturating_add(qos.level().into()))
}

/// The number in the payload of a message of the probe.
fn number_in(payload: &[u8]) -> Option<u64> {
    str::from_utf8(payload).ok()?.parse().ok()
}

/// `None` for 0.
fn seconds(keep_alive: u16) -> Option<Duration> {
    (keep_alive > 0).then(|| Duration::from_secs(keep_alive.into()))
}

fn text(reason: Option<&str>) -> Option<String> {
    reason.map(str::to_owned)
}

/// It has Message Expiry and reasons.
const VERSION: ProtocolVersion = ProtocolVersion::V5;
/// In seconds. A session that survives its connection is durable, so its messages go through the store as those of other clients do. It is
/// ended by the DISCONNECT of the probe, by its next CONNECT, or after this time.
const SESSION_EXPIRY: u32 = 60;
/// A round has one message of QoS 1 and one of QoS 2; those of a lost round may be under way, too.
const RECEIVE_MAXIMUM: NonZeroU16 = NonZeroU16::new(16).unwrap();
/// In bytes. A message of the probe has about 100.
const PACKET_MAX: NonZeroU32 = NonZeroU32::new(64 * 1_024).unwrap();
/// In bytes, as many as a password may have.
const PASSWORD_MAX: u64 = 65_535;
/// For the last bytes, and for the broker to close its side.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_the_file_is_the_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        for (written, expected) in
            [("secret\n", "secret"), ("secret\r\nmore\n", "secret"), ("with space ", "with space "), ("", "")]
        {
            fs::write(&path, written).unwrap();
            assert_eq!(password(&path).unwrap(), expected, "{written:?}");
        }
        assert!(password(&directory.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn only_numbers_are_payloads_of_the_probe() {
        assert_eq!(number_in(b"18446744073709551615"), Some(u64::MAX));
        for foreign in [&b""[..], b"-1", b"18446744073709551616", b"\xff", b"1 2"] {
            assert_eq!(number_in(foreign), None, "{foreign:?}");
        }
    }
}
