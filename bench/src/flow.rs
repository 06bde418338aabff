//! The state of a run without its sockets: what was sent, what arrived, and what is expected.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use crate::clock;
use crate::ledger::{Ledger, Tally};
use crate::packet::{self, Ack, Packet, Protocol, Publish, QoS, Retain};
use crate::packet_ids::PacketIds;
use crate::plan::{Pace, Plan};
use crate::stamp::Stamp;

/// The state of a run.
#[derive(Debug)]
pub(crate) struct Flow {
    settings: Settings,
    /// The properties of each message.
    properties: Vec<u8>,
    streams: Vec<Stream>,
    publishers: Vec<Publisher>,
    receivers: Vec<Receiver>,
    ledger: Ledger,
    filler: Vec<u8>,
    /// The messages of a batch.
    batch: Vec<u8>,
    /// Publishers whose window may have space again.
    touched: Vec<usize>,
    schedule: Schedule,
    /// Number of messages that may still be published.
    pub(crate) remaining: u64,
    /// Whether latencies are recorded.
    pub(crate) recording: bool,
    pub(crate) counts: Counts,
    pub(crate) latency_us: Histogram<u64>,
    /// From when a scheduled message was due to its PUBACK or PUBCOMP.
    pub(crate) acknowledged_us: Histogram<u64>,
    epoch: Instant,
    /// When the current packets were read.
    now: Instant,
    now_of: Option<usize>,
}

/// Counters of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) connected: usize,
    pub(crate) sessions_present: usize,
    pub(crate) subscribed: usize,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    /// Copies that haven't arrived at an audience yet.
    pub(crate) owed: u64,
    /// Published messages whose handshake isn't complete.
    pub(crate) unacknowledged: usize,
    /// Messages delivered at QoS 2 whose handshake isn't complete.
    pub(crate) unreleased: usize,
    /// Messages that were refused.
    pub(crate) refused: u64,
    /// All received packets.
    pub(crate) packets: u64,
}

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Receiver(usize),
    Publisher(usize),
    /// Only connects.
    Bystander,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    run: u32,
    payload_len: usize,
    pace: Pace,
    window: usize,
    batch: usize,
    refuses: bool,
    /// The RETAIN flag with which messages must arrive.
    retained: bool,
}

/// Where the Packet Identifier of a message is from.
#[derive(Debug, Clone, Copy)]
enum Identifiers {
    OfPublisher,
    /// In a batch it has no meaning.
    OfBatch,
}

#[derive(Debug)]
struct Stream {
    /// The PUBLISH up to the Packet Identifier, so it ends with the topic.
    head: Vec<u8>,
    /// The first message that was never refused.
    refused_below: u64,
    topic_len: usize,
    qos: QoS,
    copies: u64,
    publisher: usize,
    sent: u64,
}

#[derive(Debug)]
struct Receiver {
    /// QoS of its subscriptions.
    qos: QoS,
    /// QoS 2 messages that wait for PUBREL.
    awaiting_pubrel: PacketIds,
}

/// The order of messages when all publishers share one schedule.
#[derive(Debug, Default)]
struct Schedule {
    started: bool,
    due_ns: u64,
    publisher: usize,
}

#[derive(Debug)]
struct Publisher {
    streams: Vec<usize>,
    turn: usize,
    /// The maximum number of copies of one of its messages.
    copies: u64,
    in_flight_copies: u64,
    unacknowledged: PacketIds,
    /// Of scheduled messages that are not acknowledged: the Packet Identifier, and when the message was due.
    due: VecDeque<(u16, u64)>,
    touched: bool,
}

impl Flow {
    /// A flow before the first message.
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        let settings = Settings {
            run: plan.run,
            payload_len: plan.payload_len,
            pace: plan.pace,
            window: plan.window,
            batch: plan.batch,
            refuses: plan.refuses,
            retained: plan.retain == Retain::Keep,
        };
        let Some(filler_len) = plan.payload_len.checked_sub(Stamp::LEN) else {
            bail!("a payload must have at least {} bytes", Stamp::LEN);
        };
        let properties = match (plan.receipts, plan.protocol) {
            (true, Protocol::V5) => packet::receipt_properties(),
            (_, protocol) => packet::no_properties(protocol).to_vec(),
        };
        let streams = plan.streams.iter().map(|stream| Stream {
            head: packet::publish_head(&stream.topic, stream.qos, plan.retain, plan.payload_len, &properties),
            refused_below: 0,
            topic_len: stream.topic.len(),
            qos: stream.qos,
            copies: stream.audiences.len() as u64,
            publisher: 0,
            sent: 0,
        });
        let mut flow = Self {
            settings,
            streams: streams.collect(),
            properties,
            publishers: Vec::new(),
            receivers: plan.receivers.iter().map(|plan| Receiver::new(plan.qos)).collect(),
            ledger: ledger(plan),
            filler: vec![b'.'; filler_len],
            batch: Vec::new(),
            touched: (0..plan.publishers.len()).collect(),
            schedule: Schedule::default(),
            remaining: 0,
            recording: false,
            counts: Counts::default(),
            latency_us: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?,
            acknowledged_us: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?,
            epoch: clock::now(),
            now: clock::now(),
            now_of: None,
        };
        for (number, streams) in plan.publishers.iter().enumerate() {
            flow.add_publisher(number, streams);
        }
        Ok(flow)
    }

    /// Handles a packet received on a connection with `role` and appends the response.
    pub(crate) fn on_packet(&mut self, role: Role, packet: Packet<'_>, output: &mut Vec<u8>) -> Result<()> {
        self.counts.packets += 1;
        match (packet, role) {
            (Packet::Publish(publish), Role::Receiver(receiver)) => self.on_publish(receiver, &publish, output),
            (Packet::Pubrel(packet_id), Role::Receiver(receiver)) => self.on_pubrel(receiver, packet_id, output),
            (Packet::Puback(packet_id) | Packet::Pubcomp(packet_id), Role::Publisher(publisher)) => {
                self.on_acknowledged(publisher, packet_id)
            }
            (Packet::Pubrec(packet_id), Role::Publisher(_)) => {
                packet::encode_ack(output, Ack::Pubrel, packet_id);
                Ok(())
            }
            (Packet::Connack { return_code: 0, session_present }, _) => {
                self.counts.connected += 1;
                self.counts.sessions_present += usize::from(session_present);
                Ok(())
            }
            (Packet::Connack { return_code, .. }, _) => bail!("the broker refused a CONNECT with code {return_code}"),
            (Packet::Suback { return_codes }, Role::Receiver(receiver)) => self.on_suback(receiver, return_codes),
            (packet, role) => bail!("the broker sent {packet:?} to a {role:?}"),
        }
    }

    /// Must be called before the packets of another connection or of a later read.
    pub(crate) fn on_read(&mut self, connection: Option<usize>) {
        if self.now_of != connection {
            self.now_of = connection;
            self.now = clock::now();
        }
    }

    /// The next publisher whose window may have space.
    pub(crate) fn next_touched(&mut self) -> Option<usize> {
        let number = self.touched.pop()?;
        if let Some(publisher) = self.publishers.get_mut(number) {
            publisher.touched = false;
        }
        Some(number)
    }

    /// Marks all publishers to be checked again.
    pub(crate) fn touch_all(&mut self) {
        self.touched = (0..self.publishers.len()).collect();
        for publisher in &mut self.publishers {
            publisher.touched = true;
        }
    }

    /// Appends the messages that a publisher may send.
    pub(crate) fn publish(&mut self, number: usize, output: &mut Vec<u8>) -> Result<()> {
        let Some(publisher) = self.publishers.get_mut(number) else { return Ok(()) };
        let room = publisher.room(&self.settings).min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(());
        }
        let sent_ns = self.elapsed_ns();
        if self.settings.batch > 1 {
            return self.publish_batches(number, room, sent_ns, output);
        }
        (0..room).try_for_each(|_| self.publish_one(number, sent_ns, output))
    }

    /// Appends batches of at most `room` messages together.
    fn publish_batches(&mut self, number: usize, mut room: usize, sent_ns: u64, output: &mut Vec<u8>) -> Result<()> {
        loop {
            let size = self.settings.batch.min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
            if size == 0 || size > room {
                return Ok(());
            }
            room -= size;
            let mut messages = std::mem::take(&mut self.batch);
            messages.clear();
            let mut qos = QoS::AtLeastOnce;
            for _ in 0..size {
                qos = qos.max(self.put_next(number, sent_ns, Identifiers::OfBatch, &mut messages)?);
            }
            let publisher = self.publishers.get_mut(number).context("an unknown publisher")?;
            let packet_id = publisher.unacknowledged.allocate().context("all packet identifiers are in use")?;
            self.counts.unacknowledged += 1;
            packet::encode_batch(output, qos, packet_id.get(), &messages);
            self.batch = messages;
        }
    }

    /// Appends the next message of a publisher, stamped with `sent_ns`.
    fn publish_one(&mut self, number: usize, sent_ns: u64, output: &mut Vec<u8>) -> Result<()> {
        self.put_next(number, sent_ns, Identifiers::OfPublisher, output)?;
        Ok(())
    }

    /// Appends the PUBLISH of the next message of a publisher, and returns its QoS.
    fn put_next(&mut self, number: usize, sent_ns: u64, identifiers: Identifiers, output: &mut Vec<u8>) -> Result<QoS> {
        let publisher = self.publishers.get_mut(number).context("an unknown publisher")?;
        let number = publisher.streams.get(publisher.turn).copied().unwrap_or(0);
        publisher.turn += 1;
        if publisher.turn >= publisher.streams.len() {
            publisher.turn = 0;
        }
        let stream = self.streams.get_mut(number).context("a publisher without a stream")?;
        output.extend_from_slice(&stream.head);
        match identifiers {
            _ if stream.qos == QoS::AtMostOnce => {}
            Identifiers::OfBatch => output.extend_from_slice(&1_u16.to_be_bytes()),
            Identifiers::OfPublisher => {
                let packet_id = publisher.unacknowledged.allocate().context("all packet identifiers are in use")?;
                output.extend_from_slice(&packet_id.get().to_be_bytes());
                self.counts.unacknowledged += 1;
                if matches!(self.settings.pace, Pace::Scheduled { .. }) {
                    publisher.due.push_back((packet_id.get(), sent_ns));
                }
            }
        }
        output.extend_from_slice(&self.properties);
        let stamp = Stamp { run: self.settings.run, stream: u32::try_from(number)?, sequence: stream.sent, sent_ns };
        stamp.encode(output);
        output.extend_from_slice(&self.filler);
        stream.sent += 1;
        publisher.in_flight_copies += stream.copies;
        self.counts.owed += stream.copies;
        self.counts.published += 1;
        self.remaining -= 1;
        Ok(stream.qos)
    }

    /// The publisher of the next scheduled message, if it is due and its window has space.
    ///
    /// The schedule doesn't depend on the broker's speed: a message sent late is stamped with the time when it was due.
    pub(crate) fn next_due(&mut self) -> Option<usize> {
        if !self.schedule.started {
            self.schedule = Schedule { started: true, due_ns: self.elapsed_ns(), publisher: 0 };
        }
        self.until_due()?.is_zero().then_some(self.schedule.publisher)
    }

    /// The time until the next scheduled message is due; `None` while its window has no space.
    pub(crate) fn until_due(&self) -> Option<Duration> {
        let publisher = self.publishers.get(self.schedule.publisher)?;
        let has_room = publisher.room(&self.settings) > 0 && self.remaining > 0;
        has_room.then(|| Duration::from_nanos(self.schedule.due_ns.saturating_sub(self.elapsed_ns())))
    }

    /// Appends the message that is due.
    pub(crate) fn publish_due(&mut self, interval_ns: u64, output: &mut Vec<u8>) -> Result<()> {
        let Schedule { due_ns, publisher, .. } = self.schedule;
        self.publish_one(publisher, due_ns, output)?;
        self.schedule.due_ns += interval_ns;
        self.schedule.publisher = (publisher + 1) % self.publishers.len().max(1);
        Ok(())
    }

    /// Resets the ledger to expect one message of every stream again, for messages that the broker stored.
    pub(crate) fn expect_again(&mut self, plan: &Plan) {
        self.ledger = ledger(plan);
        self.counts.owed = self.streams.iter().map(|stream| stream.sent * stream.copies).sum();
    }

    /// The result of the run so far.
    pub(crate) fn tally(&self) -> Tally {
        let sent: Vec<_> = self.streams.iter().map(|stream| stream.sent).collect();
        self.ledger.tally(&sent)
    }

    fn elapsed_ns(&self) -> u64 {
        u64::try_from((clock::now() - self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    fn add_publisher(&mut self, number: usize, streams: &[usize]) {
        let mut copies = 1;
        for index in streams {
            if let Some(stream) = self.streams.get_mut(*index) {
                stream.publisher = number;
                copies = copies.max(stream.copies);
            }
        }
        self.publishers.push(Publisher {
            streams: streams.to_vec(),
            turn: 0,
            copies,
            in_flight_copies: 0,
            unacknowledged: PacketIds::new(),
            due: VecDeque::new(),
            touched: true,
        });
    }

    fn on_publish(&mut self, receiver: usize, publish: &Publish<'_>, output: &mut Vec<u8>) -> Result<()> {
        let recognised = self.recognise(receiver, publish);
        if let Some((stamp, stream)) = recognised
            && self.settings.refuses
            && publish.qos == QoS::AtLeastOnce
            && self.refuse(stream, stamp.sequence)
        {
            packet::encode_refusal(output, publish.packet_id);
            return Ok(());
        }
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => packet::encode_ack(output, Ack::Puback, publish.packet_id),
            QoS::ExactlyOnce => {
                packet::encode_ack(output, Ack::Pubrec, publish.packet_id);
                let receiver = self.receivers.get_mut(receiver).context("an unknown receiver")?;
                if !receiver.awaiting_pubrel.insert(publish.packet_id) {
                    return Ok(());
                }
                self.counts.unreleased += 1;
            }
        }
        let Some((stamp, stream)) = recognised else {
            self.ledger.record_unexpected();
            return Ok(());
        };
        if self.ledger.arrived(receiver, stream, stamp.sequence) {
            self.on_delivered(stream, stamp.sent_ns);
        }
        Ok(())
    }

    /// Whether this message comes for the first time.
    fn refuse(&mut self, stream: usize, sequence: u64) -> bool {
        let Some(stream) = self.streams.get_mut(stream) else { return false };
        let is_new = sequence >= stream.refused_below;
        if is_new {
            stream.refused_below = sequence + 1;
            self.counts.refused += 1;
        }
        is_new
    }

    /// The stamp and the stream of a message, if it is an intact message of this run.
    fn recognise(&self, receiver: usize, publish: &Publish<'_>) -> Option<(Stamp, usize)> {
        let stamp = Stamp::decode(publish.payload)?;
        let number = usize::try_from(stamp.stream).ok()?;
        let stream = self.streams.get(number)?;
        let asked = self.receivers.get(receiver)?.qos;
        let sound = stamp.run == self.settings.run
            && stamp.sequence < stream.sent
            && publish.payload.len() == self.settings.payload_len
            && publish.payload.ends_with(self.filler.get(..self.filler.len().min(1)).unwrap_or_default())
            && publish.qos == stream.qos.min(asked)
            && publish.retain == self.settings.retained
            && stream.is_topic(publish.topic);
        sound.then_some((stamp, number))
    }

    fn on_delivered(&mut self, stream: usize, sent_ns: u64) {
        self.counts.delivered += 1;
        self.counts.owed = self.counts.owed.saturating_sub(1);
        if self.recording {
            let now_ns = u64::try_from((self.now - self.epoch).as_nanos()).unwrap_or(u64::MAX);
            self.latency_us.saturating_record(now_ns.saturating_sub(sent_ns) / 1_000);
        }
        let Some(number) = self.streams.get(stream).map(|stream| stream.publisher) else { return };
        let Some(publisher) = self.publishers.get_mut(number) else { return };
        publisher.in_flight_copies = publisher.in_flight_copies.saturating_sub(1);
        publisher.touch(number, &mut self.touched);
    }

    fn on_pubrel(&mut self, receiver: usize, packet_id: u16, output: &mut Vec<u8>) -> Result<()> {
        packet::encode_ack(output, Ack::Pubcomp, packet_id);
        let receiver = self.receivers.get_mut(receiver).context("an unknown receiver")?;
        self.counts.unreleased -= usize::from(receiver.awaiting_pubrel.remove(packet_id));
        Ok(())
    }

    fn on_acknowledged(&mut self, number: usize, packet_id: u16) -> Result<()> {
        let publisher = self.publishers.get_mut(number).context("an unknown publisher")?;
        if !publisher.unacknowledged.remove(packet_id) {
            bail!("the broker acknowledged packet identifier {packet_id}, which was not in use");
        }
        self.counts.unacknowledged -= 1;
        if let Some(at) = publisher.due.iter().position(|(due, _)| *due == packet_id)
            && let Some((_, due_ns)) = publisher.due.remove(at)
            && self.recording
        {
            let now_ns = u64::try_from((self.now - self.epoch).as_nanos()).unwrap_or(u64::MAX);
            self.acknowledged_us.saturating_record(now_ns.saturating_sub(due_ns) / 1_000);
        }
        publisher.touch(number, &mut self.touched);
        Ok(())
    }

    fn on_suback(&mut self, receiver: usize, return_codes: &[u8]) -> Result<()> {
        let asked = self.receivers.get(receiver).context("an unknown receiver")?.qos.bits();
        if let Some(code) = return_codes.iter().find(|code| **code != asked) {
            bail!("the broker answered a SUBSCRIBE at QoS {asked} with 0x{code:02X}");
        }
        self.counts.subscribed += return_codes.len();
        Ok(())
    }
}

impl Receiver {
    const fn new(qos: QoS) -> Self {
        Self { qos, awaiting_pubrel: PacketIds::new() }
    }
}

impl Stream {
    fn is_topic(&self, topic: &[u8]) -> bool {
        self.topic_len == topic.len() && self.head.ends_with(topic)
    }
}

impl Publisher {
    /// How many messages it may send now.
    fn room(&self, settings: &Settings) -> usize {
        let unacknowledged = self.unacknowledged.len();
        let in_flight = usize::try_from(self.in_flight_copies.div_ceil(self.copies)).unwrap_or(usize::MAX);
        match settings.pace {
            Pace::EachDelivered => settings.window.saturating_sub(in_flight.max(unacknowledged)),
            Pace::AllDelivered if in_flight == 0 && unacknowledged == 0 => settings.window,
            Pace::AllDelivered => 0,
            Pace::Acknowledged => settings.window.saturating_sub(unacknowledged),
            Pace::Unbounded => settings.window,
            Pace::Scheduled { .. } => UNACKNOWLEDGED_MAX.saturating_sub(unacknowledged),
        }
    }

    fn touch(&mut self, number: usize, touched: &mut Vec<usize>) {
        if !self.touched {
            self.touched = true;
            touched.push(number);
        }
    }
}

fn ledger(plan: &Plan) -> Ledger {
    let audiences = plan.receivers.iter().map(|receiver| receiver.audience).collect();
    let mut ledger = Ledger::new(plan.streams.len(), audiences);
    for (number, stream) in plan.streams.iter().enumerate() {
        for audience in &stream.audiences {
            ledger.expect(*audience, number);
        }
    }
    ledger
}

/// Half of all Packet Identifiers. A scheduled publisher stops at this number; further messages are late.
const UNACKNOWLEDGED_MAX: usize = 32_767;
/// Longer latencies count as a minute.
const LATENCY_MAX_US: u64 = 60_000_000;

#[cfg(test)]
mod tests;
