//! Measures latencies at the connections of a shard, for a sample of the messages.
//!
//! A latency begins with the turn that read the PUBLISH, whose time is known. The message carries it to its receivers, whatever their shard and
//! whether or not it is stored first. The latency ends when the transport has accepted the last byte of the packet, for which the clock is read.
//! So a message that is not in the sample costs a comparison for each of its packets.

use std::time::Duration;

use crate::codec::{Ack, PacketId, Qos, ServerPacket};
use crate::server::traffic::{Latencies, Latency};
use crate::timestamp::{Stamp, Timestamp};

/// What is being measured at one connection: at most one latency of each kind at a time.
#[derive(Debug, Default)]
pub(in crate::server) struct Samples {
    /// When the connection was accepted, until its client is accepted too.
    pub(in crate::server) accepted_at: Option<Duration>,
    /// A PUBLISH of the client that was not acknowledged yet.
    pub(in crate::server) unacknowledged: Option<Unacknowledged>,
    /// Packets that were queued and not written completely.
    queued: Vec<Queued>,
}

/// A measured PUBLISH of a client.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Unacknowledged {
    pub(in crate::server) packet_id: PacketId,
    pub(in crate::server) qos: Qos,
    pub(in crate::server) received: Duration,
}

/// A latency that ends when a packet is written.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Sample {
    what: Latency,
    begun: Duration,
}

/// A packet in the output buffer.
#[derive(Debug, Clone, Copy)]
struct Queued {
    sample: Sample,
    /// It is written when so many bytes were written to the connection in all.
    end: u64,
}

/// Chooses what is measured.
#[derive(Debug, Default)]
pub(in crate::server) struct Sampler {
    publishes: u32,
    turns: u32,
    /// The next PUBLISH is measured from this time on.
    due: Timestamp,
}

impl Sampler {
    /// Whether the next PUBLISH is measured: one of [`PUBLISH_INTERVAL`], and at least one in [`PUBLISH_PAUSE_MAX`].
    #[inline]
    pub(in crate::server) fn wants_publish(&mut self, now: Timestamp) -> bool {
        self.publishes = self.publishes.wrapping_add(1);
        let wants = self.publishes.is_multiple_of(PUBLISH_INTERVAL) || now >= self.due;
        if wants {
            self.due = now + PUBLISH_PAUSE_MAX;
        }
        wants
    }

    /// Whether the time of this turn is measured: one of [`TURN_INTERVAL`].
    #[inline]
    pub(in crate::server) const fn wants_turn(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        self.turns.is_multiple_of(TURN_INTERVAL)
    }
}

/// The latency that ends when this packet is written to a connection that was `opened` at this time.
#[inline]
pub(in crate::server) fn completed_by(
    packet: &ServerPacket,
    samples: &mut Option<Box<Samples>>,
    opened: Stamp,
) -> Option<Sample> {
    let ServerPacket::Publish(publish) = packet else { return samples.as_deref_mut()?.answered_by(packet) };
    if !publish.message.received.is_some() {
        return None;
    }
    let begun = publish.message.received.get()?;
    let is_live = !publish.retain && !publish.dup && opened.get().is_some_and(|opened| opened <= begun);
    is_live.then_some(Sample { what: Latency::PublishToDeliver(publish.qos), begun })
}

impl Samples {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other packets end no latency")]
    fn answered_by(&mut self, packet: &ServerPacket) -> Option<Sample> {
        match packet {
            ServerPacket::Connack(connack) => {
                let begun = self.accepted_at.take().filter(|_| !connack.reason_code.is_error())?;
                Some(Sample { what: Latency::Connect, begun })
            }
            ServerPacket::Puback(Ack { packet_id, .. }) | ServerPacket::Pubrec(Ack { packet_id, .. }) => {
                let Unacknowledged { qos, received, .. } =
                    self.unacknowledged.take_if(|measured| measured.packet_id == *packet_id)?;
                Some(Sample { what: Latency::PublishToAcknowledge(qos), begun: received })
            }
            _ => None,
        }
    }

    /// A packet that ends a latency is in the output buffer. `end`: the bytes written to the connection when it is written.
    #[cold]
    pub(in crate::server) fn queued(&mut self, sample: Sample, end: u64) {
        let kind = |sample: &Sample| std::mem::discriminant(&sample.what);
        if !self.queued.iter().any(|queued| kind(&queued.sample) == kind(&sample)) {
            self.queued.push(Queued { sample, end });
        }
    }

    /// Records the latencies of the packets that are written when `written` bytes are. `now` reads the clock. Returns whether nothing is left to
    /// measure.
    #[cold]
    pub(in crate::server) fn written(
        &mut self,
        written: u64,
        latencies: &mut Latencies,
        now: impl Fn() -> Duration,
    ) -> bool {
        let mut ended = None;
        self.queued.retain(|queued| {
            let is_written = queued.end <= written;
            if is_written {
                let ended = *ended.get_or_insert_with(&now);
                latencies.record(queued.sample.what, ended.saturating_sub(queued.sample.begun));
            }
            !is_written
        });
        self.queued.is_empty() && self.unacknowledged.is_none() && self.accepted_at.is_none()
    }
}

/// One of this many PUBLISH packets is measured: each measurement reads the clock for each receiver.
const PUBLISH_INTERVAL: u32 = 256;
/// The first PUBLISH after this time is measured too, so that a broker with few messages has figures.
const PUBLISH_PAUSE_MAX: Duration = Duration::from_millis(100);
/// One of this many turns is measured.
const TURN_INTERVAL: u32 = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::{Connack, Message, OutgoingPublish, ReasonCode};
    use crate::server::clock::Reading;
    use crate::server::connection::outgoing::BufferPool;
    use crate::server::shard::connections::{Connections, Entry};
    use crate::topic::TopicName;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A connection that was opened 100 ms after the start, and what is measured at it.
    struct Lab {
        connections: Connections,
        id: crate::broker::ConnectionId,
        latencies: Latencies,
        pool: BufferPool,
    }

    impl Lab {
        fn new() -> Self {
            let mut connections = Connections::default();
            let id = connections.open(Reading { now: Timestamp(100), elapsed: ms(100) }).unwrap();
            Self { connections, id, latencies: Latencies::default(), pool: BufferPool::default() }
        }

        fn entry(&mut self) -> &mut Entry {
            self.connections.get_mut(self.id).unwrap()
        }

        /// Queues a packet that takes ten bytes.
        fn send(&mut self, packet: &ServerPacket) {
            let entry = self.connections.get_mut(self.id).unwrap();
            let sample = completed_by(packet, &mut entry.samples, entry.opened);
            entry.outgoing.tail(&mut self.pool).extend_from_slice(&[0; 10]);
            if let Some(sample) = sample {
                let end = entry.bytes_sent + entry.outgoing.len() as u64;
                entry.samples.get_or_insert_default().queued(sample, end);
            }
        }

        /// The transport accepts so many bytes, at this time. Nothing is sent before all are accepted.
        fn write(&mut self, bytes: u64, now: Duration) {
            let entry = self.connections.get_mut(self.id).unwrap();
            entry.outgoing.release(&mut self.pool);
            entry.bytes_sent += bytes;
            if entry
                .samples
                .as_mut()
                .is_some_and(|samples| samples.written(entry.bytes_sent, &mut self.latencies, || now))
            {
                entry.samples = None;
            }
        }
    }

    fn publish(received: Stamp) -> OutgoingPublish {
        let message = Message { received, ..Message::new(TopicName::try_from("a").unwrap(), "x") };
        OutgoingPublish { qos: Qos::AtLeastOnce, ..OutgoingPublish::new(Arc::new(message)) }
    }

    fn packet_id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    fn puback(number: u16) -> ServerPacket {
        ServerPacket::Puback(Ack { packet_id: packet_id(number), reason_code: ReasonCode::Success, details: None })
    }

    #[test]
    fn a_delivery_ends_when_its_last_byte_is_written() {
        let mut lab = Lab::new();
        lab.send(&ServerPacket::Publish(publish(Stamp::NONE)));
        assert!(lab.entry().samples.is_none());
        lab.send(&ServerPacket::Publish(publish(Stamp::new(ms(150)))));
        lab.write(19, ms(151));
        assert_eq!(lab.latencies, Latencies::default());
        lab.write(1, ms(155));
        assert_eq!((lab.latencies.publish_to_deliver[1].count(), lab.latencies.publish_to_deliver[1].sum), (1, ms(5)));
        assert!(lab.entry().samples.is_none(), "nothing is left of it");
    }

    #[test]
    fn what_waited_for_the_receiver_or_was_sent_before_is_no_latency() {
        let mut lab = Lab::new();
        let received = Stamp::new(ms(150));
        for publish in [
            publish(Stamp::new(ms(99))),
            OutgoingPublish { retain: true, ..publish(received) },
            OutgoingPublish { dup: true, ..publish(received) },
        ] {
            lab.send(&ServerPacket::Publish(publish));
            assert!(lab.entry().samples.is_none());
        }
    }

    #[test]
    fn an_acknowledgement_ends_the_latency_of_its_own_message() {
        let mut lab = Lab::new();
        let unacknowledged = Unacknowledged { packet_id: packet_id(7), qos: Qos::AtLeastOnce, received: ms(150) };
        lab.entry().samples.get_or_insert_default().unacknowledged = Some(unacknowledged);
        lab.send(&puback(6));
        lab.write(10, ms(200));
        assert_eq!(lab.latencies, Latencies::default());
        lab.send(&puback(7));
        lab.write(10, ms(350));
        let acknowledged = lab.latencies.publish_to_acknowledge[0];
        assert_eq!((acknowledged.count(), acknowledged.sum), (1, ms(200)));
        assert!(lab.entry().samples.is_none());
    }

    #[test]
    fn only_the_connack_that_accepts_the_client_ends_the_latency_of_a_connect() {
        for (reason_code, count) in [(ReasonCode::Success, 1), (ReasonCode::NotAuthorized, 0)] {
            let mut lab = Lab::new();
            lab.entry().samples.get_or_insert_default().accepted_at = Some(ms(90));
            lab.send(&ServerPacket::Connack(Box::new(Connack { reason_code, ..Connack::accepted(false) })));
            lab.write(10, ms(120));
            assert_eq!(lab.latencies.connect.count(), count, "{reason_code:?}");
        }
    }

    #[test]
    fn each_kind_is_measured_once_at_a_time() {
        let mut lab = Lab::new();
        for _ in 0..1_000 {
            lab.send(&ServerPacket::Publish(publish(Stamp::new(ms(150)))));
        }
        assert_eq!(lab.entry().samples.as_ref().unwrap().queued.len(), 1);
        lab.write(10_000, ms(160));
        assert_eq!(lab.latencies.publish_to_deliver[1].count(), 1);
    }

    #[test]
    fn one_of_256_messages_is_measured_and_one_in_100_milliseconds() {
        let mut sampler = Sampler::default();
        let measured = (0..25_600).filter(|_| sampler.wants_publish(Timestamp(1_000))).count();
        assert_eq!(measured, 101);
        let slow = (0..10_u64).filter(|number| sampler.wants_publish(Timestamp(2_000 + 100 * number))).count();
        assert_eq!(slow, 10);
    }
}
