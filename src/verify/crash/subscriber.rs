//! A subscriber with a Session that is kept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use oncemq::codec::{
    Ack, ClientPacket, EncodedUserProperties, OutgoingPublish, PacketId, ProtocolVersion, Qos, ReasonCode,
    ServerPacket, Subscribe, Subscription, SubscriptionOptions,
};
use oncemq::topic::Filter;
use tokio::time::Instant;

use super::end::End;
use super::load::{Load, connect, random_below, send};
use super::seen::{Arrival, Seen, message};
use crate::verify::link::{Link, LinkError, PATIENCE};
use crate::verify::stop::Stop;

#[derive(Debug)]
pub(super) struct Subscriber {
    version: ProtocolVersion,
    behaviour: Behaviour,
    is_subscribed: bool,
    /// By publisher.
    seen: Vec<Seen>,
    /// QoS 2 messages without PUBREL.
    received: HashMap<PacketId, (usize, u64)>,
    pub(super) delivered: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Connected until the broker is killed.
    Steady,
    /// It leaves and returns.
    Flapping,
    /// Not there under load: all its messages wait on disk.
    Away,
}

impl Subscriber {
    pub(super) fn new(version: ProtocolVersion, behaviour: Behaviour, publishers: usize) -> Self {
        let seen = (0..publishers).map(|_| Seen::default()).collect();
        Self { version, behaviour, is_subscribed: false, seen, received: HashMap::new(), delivered: 0 }
    }

    pub(super) fn name(&self) -> String {
        let what = match self.behaviour {
            Behaviour::Steady => "connected",
            Behaviour::Flapping => "leaving and returning",
            Behaviour::Away => "away until the restart",
        };
        format!("subscriber {what} (MQTT {})", self.version.name())
    }

    fn client_id(&self) -> &'static str {
        match self.behaviour {
            Behaviour::Steady => "steady",
            Behaviour::Flapping => "flapping",
            Behaviour::Away => "away",
        }
    }

    /// Receives until the broker is killed.
    pub(super) fn load(&mut self, load: Load<'_>) -> Result<(), End> {
        if self.behaviour == Behaviour::Away {
            return Ok(());
        }
        loop {
            let mut link = self.connect(load.address)?;
            let stays = Duration::from_millis(10 + random_below(60));
            let until = (self.behaviour == Behaviour::Flapping).then(|| Instant::now() + stays);
            while until.is_none_or(|until| Instant::now() < until) {
                if let Some(packet) = load.receive(&mut link)? {
                    self.on_packet(&packet, &mut link)?;
                }
            }
            drop(link);
            thread::sleep(Duration::from_millis(random_below(20)));
        }
    }

    /// Receives all that is `sent`, by publisher, and looks for what comes twice.
    pub(super) fn settle(&mut self, address: SocketAddr, sent: &[Range<u64>], stop: &Stop) -> Result<(), End> {
        let mut link = self.connect(address)?;
        let mut until = Instant::now() + PATIENCE;
        let mut is_complete = false;
        while !stop.is_set() {
            let missing = self.missing(sent);
            if !is_complete && missing.is_none() && self.received.is_empty() {
                (is_complete, until) = (true, Instant::now() + SILENCE);
            }
            match link.receive(until)? {
                Some(packet) => {
                    until = until.max(Instant::now() + if is_complete { SILENCE } else { PATIENCE });
                    self.on_packet(&packet, &mut link)?;
                }
                None if is_complete => break,
                None => return Err(self.unsettled(missing)),
            }
        }
        for (seen, sent) in self.seen.iter_mut().zip(sent) {
            seen.forget(sent.end);
        }
        Ok(())
    }

    fn unsettled(&self, missing: Option<(usize, u64)>) -> End {
        End::Fault(match missing {
            Some((publisher, number)) => {
                format!("message {number} of publisher-{publisher} was acknowledged and is lost")
            }
            None => format!("{} messages at QoS 2 were never released", self.received.len()),
        })
    }

    fn missing(&self, sent: &[Range<u64>]) -> Option<(usize, u64)> {
        let seen = self.seen.iter().zip(sent).enumerate();
        seen.filter_map(|(publisher, (seen, sent))| Some((publisher, seen.missing(sent)?))).next()
    }

    fn connect(&mut self, address: SocketAddr) -> Result<Link, End> {
        let mut link = connect(address, self.client_id(), self.version, self.is_subscribed)?;
        if !self.is_subscribed {
            let filter = Filter::try_from(FILTER).map_err(|error| End::Fault(error.to_string()))?;
            let Some(packet_id) = PacketId::new(1) else { return Ok(link) };
            let subscribe = Subscribe {
                packet_id,
                subscription_id: None,
                user_properties: EncodedUserProperties::new(),
                subscriptions: vec![Subscription { filter, options: SubscriptionOptions::new(Qos::ExactlyOnce) }],
            };
            send(&mut link, &ClientPacket::Subscribe(Box::new(subscribe)))?;
            match link.receive(Instant::now() + PATIENCE)? {
                Some(ServerPacket::Suback(suback)) if suback.reason_codes == [ReasonCode::GrantedQos2] => {
                    self.is_subscribed = true;
                }
                Some(other) => return Err(End::Fault(format!("its SUBSCRIBE was answered with {other:?}"))),
                None => return Err(LinkError::Silent("SUBACK").into()),
            }
        }
        Ok(link)
    }

    fn on_packet(&mut self, packet: &ServerPacket, link: &mut Link) -> Result<(), End> {
        if let ServerPacket::Publish(publish) = packet {
            self.on_publish(publish, link)
        } else if let ServerPacket::Pubrel(ack) = packet {
            self.received.remove(&ack.packet_id);
            send(link, &ClientPacket::Pubcomp(Ack::new(ack.packet_id, ReasonCode::Success)))
        } else {
            Err(End::Fault(format!("it was sent {packet:?}")))
        }
    }

    fn on_publish(&mut self, publish: &OutgoingPublish, link: &mut Link) -> Result<(), End> {
        let (Some(got), Some(packet_id)) = (message(&publish.message.payload), publish.packet_id) else {
            return Err(End::Fault(format!("it was sent what nobody has published: {publish:?}")));
        };
        let (publisher, number) = got;
        let is_known = publish.qos == Qos::ExactlyOnce && self.received.contains_key(&packet_id);
        if is_known && self.received.get(&packet_id) != Some(&got) {
            // [MQTT-4.3.3-10]: until PUBREL, the same identifier is the same message.
            return Err(End::Fault(format!(
                "message {number} of publisher-{publisher} came with the identifier of another message, which a \
                 receiver discards: it is lost"
            )));
        }
        if !is_known {
            self.arrived(publisher, number, publish.qos)?;
        }
        let ack = Ack::new(packet_id, ReasonCode::Success);
        if publish.qos == Qos::ExactlyOnce {
            self.received.insert(packet_id, got);
            send(link, &ClientPacket::Pubrec(ack))
        } else {
            send(link, &ClientPacket::Puback(ack))
        }
    }

    fn arrived(&mut self, publisher: usize, number: u64, qos: Qos) -> Result<(), End> {
        let what = format!("message {number} of publisher-{publisher}");
        let Some(seen) = self.seen.get_mut(publisher) else {
            return Err(End::Fault(format!("{what} was never published")));
        };
        match seen.arrived(number) {
            Arrival::First => {
                self.delivered += 1;
                Ok(())
            }
            // QoS 1 is at least once.
            Arrival::Again if qos == Qos::AtLeastOnce => Ok(()),
            Arrival::Again => Err(End::Fault(format!("{what} came twice at QoS 2"))),
            Arrival::LateFirst { newest } => Err(End::Fault(format!("{what} came after message {newest}"))),
        }
    }
}

const FILTER: &str = "verify/#";
/// How long to wait for what comes twice.
const SILENCE: Duration = Duration::from_millis(60);
