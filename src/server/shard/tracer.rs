use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::{ClientLabel, ClientPattern, ConnectionId, Detail, DetailLevel, Report};
use crate::codec::{AliasUse, ClientId, ClientPacket, PacketId, Publish, ReasonCode, ServerPacket};
use crate::server::report::{Label, client_line};
use crate::server::shard::decisions::entries;
use crate::server::shard::trace::{Trace, TraceEntry, TraceFilter};
use crate::server::shard::traced::Traced;
use crate::timestamp::Timestamp;
use crate::topic::{Filter, MountPoint};

/// Writes a line for every packet while the log has the level `trace`, and adds packets and decisions to the traces that run: type, length and
/// main fields, never a payload or a password.
#[derive(Debug, Default)]
pub(in crate::server) struct Tracer {
    /// What the log wants.
    log: Detail,
    traces: Arc<[Arc<Trace>]>,
    is_on: bool,
    /// Counts the changes of the two above.
    generation: u64,
    /// The clients of open connections. The shard forgets a connection before its last packet is sent. Empty while the tracer is off.
    clients: HashMap<ConnectionId, Known, RandomState>,
}

/// The client of a connection.
#[derive(Debug)]
struct Known {
    label: ClientLabel,
    /// Whether the label is that of a client whose CONNECT the shard has handled.
    is_settled: bool,
    wanted: Wanted,
    generation: u64,
}

/// Who wants something: the log, and the traces by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Wanted {
    log: bool,
    traces: u8,
}

/// What to do about a packet that is being encoded.
#[derive(Debug)]
pub(in crate::server) struct Sent {
    traced: Box<Traced>,
    wanted: Wanted,
}

impl Tracer {
    /// Changes what the log wants. Returns what the shard reports from now on.
    pub(in crate::server) fn set_log(&mut self, detail: Detail) -> Detail {
        self.log = detail;
        self.changed()
    }

    /// Changes the traces. Returns what the shard reports from now on.
    pub(in crate::server) fn set_traces(&mut self, traces: Arc<[Arc<Trace>]>) -> Detail {
        self.traces = traces;
        self.changed()
    }

    fn changed(&mut self) -> Detail {
        self.generation += 1;
        self.is_on = self.log.level() == DetailLevel::Trace || !self.traces.is_empty();
        if !self.is_on {
            self.clients = HashMap::default();
        }
        let patterns: Vec<Option<&ClientPattern>> = self.traces.iter().map(|trace| trace.client_id()).collect();
        self.log.with(&patterns)
    }

    /// The path of a packet asks this alone while the tracer is off.
    #[inline]
    pub(in crate::server) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Writes or adds what is wanted of a received packet. `label` is the shard's.
    #[cold]
    pub(in crate::server) fn received(
        &mut self,
        id: ConnectionId,
        label: impl FnOnce() -> Option<ClientLabel>,
        (packet, bytes): (&ClientPacket, usize),
        now: Timestamp,
    ) {
        let connect = if let ClientPacket::Connect(connect) = packet { Some(connect) } else { None };
        let named = |label: ClientLabel| match connect {
            Some(connect) if label.client_id.is_none() && !connect.client_id.is_empty() => ClientLabel {
                client_id: Some(ClientId::from(&*connect.client_id)),
                version: Some(connect.version.name()),
                ..label
            },
            Some(_) | None => label,
        };
        self.learn(id, || label().map(|label| (label.client_id.is_some(), named(label))));
        let mount_point = self.clients.get(&id).and_then(|known| known.label.mount_point.as_ref());
        let packet = &*with_full_topics(packet, mount_point);
        let wanted = self.wanted(id, |filter| wants_received(filter, packet), now);
        let Some(label) = self.clients.get(&id).map(|known| &known.label) else { return };
        if wanted == Wanted::default() {
            return;
        }
        let traced = Traced::received(packet);
        if wanted.log {
            let Traced { packet, packet_id, topic, qos, retain, dup, reason_code, words, .. } = &traced;
            client_line!(
                PacketReceived,
                label,
                {
                    packet, bytes, packet_id = packet_id.map(PacketId::number), topic = topic.as_deref(), qos, retain, dup,
                    reason_code = reason_code.map(ReasonCode::number),
                },
                "{} sent {packet}: {bytes} bytes{words}",
                Label(label)
            );
        }
        self.add(wanted.traces, || entry("received", label, (traced, bytes), now));
    }

    /// Describes a packet that will be encoded into an output buffer of `before` bytes, if it is wanted. `label` is the shard's; `None` once
    /// it has ended the connection.
    #[cold]
    pub(in crate::server) fn before_sent(
        &mut self,
        id: ConnectionId,
        label: impl FnOnce() -> Option<ClientLabel>,
        (packet, before): (&ServerPacket, usize),
        now: Timestamp,
    ) -> Option<Sent> {
        self.learn(id, || label().map(|label| (label.client_id.is_some(), label)));
        let wanted = self.wanted(id, |filter| wants_sent(filter, packet), now);
        (wanted != Wanted::default()).then(|| Sent { traced: Traced::sent(packet, before), wanted })
    }

    /// Writes or adds what is wanted of a packet that was encoded into an output buffer, which now has `length` bytes.
    #[cold]
    pub(in crate::server) fn sent(&self, id: ConnectionId, sent: Sent, length: usize, now: Timestamp) {
        let Sent { traced, wanted } = sent;
        let bytes = length.saturating_sub(traced.before);
        let Some(label) = self.clients.get(&id).map(|known| &known.label) else { return };
        if bytes == 0 {
            return; // the version of the client has no such packet
        }
        if wanted.log {
            let Traced { packet, packet_id, topic, qos, retain, dup, reason_code, words, .. } = &*traced;
            client_line!(
                PacketSent,
                label,
                {
                    packet, bytes, packet_id = packet_id.map(PacketId::number), topic = topic.as_deref(), qos, retain, dup,
                    reason_code = reason_code.map(ReasonCode::number),
                },
                "{} was sent {packet}: {bytes} bytes{words}",
                Label(label)
            );
        }
        self.add(wanted.traces, || entry("sent", label, (*traced, bytes), now));
    }

    /// Whether the log wants a report. Without traces, it asked for all that there are.
    pub(in crate::server) fn logs(&self, report: &Report) -> bool {
        self.traces.is_empty() || !report.is_detail() || self.log.wants(report.client().client_id.as_ref())
    }

    /// Adds a report to the traces that want it.
    pub(in crate::server) fn report(&self, report: &Report, now: Timestamp) {
        let client = report.client();
        let of_client: Vec<_> = self.traces.iter().filter(|trace| trace.filter.wants_client(client)).collect();
        if of_client.is_empty() {
            return;
        }
        for entry in entries(report, now).map(Arc::new) {
            let wants = |trace: &Trace| trace.filter.wants_text(entry.topic.as_deref()) && trace.admits(now);
            of_client.iter().filter(|trace| wants(trace)).for_each(|trace| trace.add(Arc::clone(&entry)));
        }
    }

    /// Forgets a connection that has ended.
    pub(in crate::server) fn ended(&mut self, id: ConnectionId) {
        if !self.clients.is_empty() {
            self.clients.remove(&id);
        }
    }

    /// Keeps the client of a connection by its latest label, and whether it is wanted. `label` is asked for until the client is settled.
    fn learn(&mut self, id: ConnectionId, label: impl FnOnce() -> Option<(bool, ClientLabel)>) {
        let known = self.clients.get(&id);
        if known.is_some_and(|known| known.is_settled && known.generation == self.generation) {
            return;
        }
        let old = self.clients.remove(&id).map(|known| (known.is_settled, known.label));
        let (is_settled, label) = match (label(), old) {
            // Until CONNECT has been handled, the shard knows no Client Identifier.
            (Some((is_settled, label)), Some(_)) if label.client_id.is_some() => (is_settled, label),
            (_, Some(old)) => old,
            (Some(new), None) => new,
            (None, None) => return,
        };
        let log = self.log.level() == DetailLevel::Trace && self.log.wants(label.client_id.as_ref());
        let of_trace = |(place, trace): (usize, &Arc<Trace>)| u8::from(trace.filter.wants_client(&label)) << place;
        let traces = self.traces.iter().take(8).enumerate().map(of_trace).fold(0, |all, one| all | one);
        let known = Known { label, is_settled, wanted: Wanted { log, traces }, generation: self.generation };
        self.clients.insert(id, known);
    }

    /// Who wants a packet of a connection, and has room for it.
    fn wanted(&self, id: ConnectionId, topic: impl Fn(&TraceFilter) -> bool, now: Timestamp) -> Wanted {
        let Some(Known { wanted, .. }) = self.clients.get(&id) else { return Wanted::default() };
        if wanted.traces == 0 {
            return *wanted;
        }
        let places = self.traces.iter().enumerate().filter(|(place, _)| wanted.traces >> place & 1 == 1);
        let takes = places.filter(|(_, trace)| topic(&trace.filter) && trace.admits(now));
        Wanted { log: wanted.log, traces: takes.fold(0, |all, (place, _)| all | 1 << place) }
    }

    fn add(&self, places: u8, entry: impl FnOnce() -> TraceEntry) {
        if places == 0 {
            return;
        }
        let entry = Arc::new(entry());
        for (_, trace) in self.traces.iter().enumerate().filter(|(place, _)| places >> place & 1 == 1) {
            trace.add(Arc::clone(&entry));
        }
    }
}

/// The packet with the topics by which the broker knows them.
fn with_full_topics<'a>(packet: &'a ClientPacket, mount_point: Option<&MountPoint>) -> Cow<'a, ClientPacket> {
    let Some(mount_point) = mount_point else { return Cow::Borrowed(packet) };
    let mut full = packet.clone();
    let mount = |filter: &mut Filter| {
        if let Ok(mounted) = mount_point.filter(filter) {
            *filter = mounted;
        }
    };
    match &mut full {
        ClientPacket::Publish(Publish { topic_alias: Some((_, AliasUse::Known)), .. }) => {}
        ClientPacket::Publish(publish) => {
            if let Ok(topic) = mount_point.topic(&publish.message.topic) {
                Arc::make_mut(&mut publish.message).topic = topic;
            }
        }
        ClientPacket::Subscribe(subscribe) => {
            subscribe.subscriptions.iter_mut().for_each(|subscription| mount(&mut subscription.filter));
        }
        ClientPacket::Unsubscribe(unsubscribe) => unsubscribe.filters.iter_mut().for_each(mount),
        ClientPacket::Connect(_)
        | ClientPacket::Puback(_)
        | ClientPacket::Pubrec(_)
        | ClientPacket::Pubrel(_)
        | ClientPacket::Pubcomp(_)
        | ClientPacket::Pingreq
        | ClientPacket::Disconnect(_)
        | ClientPacket::Auth(_) => {}
    }
    Cow::Owned(full)
}

fn wants_received(filter: &TraceFilter, packet: &ClientPacket) -> bool {
    match packet {
        ClientPacket::Publish(publish) => filter.wants_topic(Some(&publish.message.topic)),
        ClientPacket::Subscribe(subscribe) => {
            filter.wants_filters(subscribe.subscriptions.iter().map(|subscription| &subscription.filter))
        }
        ClientPacket::Unsubscribe(unsubscribe) => filter.wants_filters(unsubscribe.filters.iter()),
        ClientPacket::Connect(connect) => filter.wants_topic(connect.will.as_ref().map(|will| &will.topic)),
        ClientPacket::Puback(_)
        | ClientPacket::Pubrec(_)
        | ClientPacket::Pubrel(_)
        | ClientPacket::Pubcomp(_)
        | ClientPacket::Pingreq
        | ClientPacket::Disconnect(_)
        | ClientPacket::Auth(_) => filter.wants_topic(None),
    }
}

fn wants_sent(filter: &TraceFilter, packet: &ServerPacket) -> bool {
    if let ServerPacket::Publish(publish) = packet {
        filter.wants_topic(Some(&publish.message.topic))
    } else {
        filter.wants_topic(None)
    }
}

fn entry(event: &'static str, client: &ClientLabel, (traced, bytes): (Traced, usize), at: Timestamp) -> TraceEntry {
    let Traced { packet, packet_id, topic, qos, retain, dup, reason_code, words, before: _ } = traced;
    let details = words.strip_prefix(", ").map(str::to_owned);
    TraceEntry {
        at,
        client: client.clone(),
        event,
        packet: Some(packet),
        bytes: Some(bytes),
        packet_id: packet_id.map(PacketId::number),
        topic,
        qos,
        retain,
        dup,
        reason_code: reason_code.map(ReasonCode::number),
        details,
        ..TraceEntry::default()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::broker::SessionChange;
    use crate::server::shard::trace::TraceItem;

    fn client(id: &str) -> ClientLabel {
        ClientLabel { client_id: Some(ClientId(id.into())), ..ClientLabel::default() }
    }

    fn drain(trace: &Trace) -> Vec<Arc<TraceEntry>> {
        let Poll::Ready(items) = trace.poll_items(&Context::from_waker(Waker::noop())) else { return Vec::new() };
        let entry = |item| if let TraceItem::Entry(entry) = item { Some(entry) } else { None };
        items.into_iter().filter_map(entry).collect()
    }

    #[test]
    fn a_trace_adds_to_what_the_shard_reports_and_not_to_what_the_log_writes() {
        let log = Detail::new(DetailLevel::Debug, ["a"]);
        let mut tracer = Tracer::default();
        assert_eq!(tracer.set_log(log.clone()), log);
        assert!(!tracer.is_on());
        let filter = TraceFilter { client_id: Some(ClientPattern::new("b")), ..TraceFilter::default() };
        let trace = Arc::new(Trace::new(filter));
        let both = tracer.set_traces([Arc::clone(&trace)].into());
        assert!(["a", "b"].iter().all(|id| both.wants(Some(&ClientId((*id).into())))) && tracer.is_on());
        let created = |id| Report::Session { client: client(id), change: SessionChange::Created };
        assert!(tracer.logs(&created("a")) && !tracer.logs(&created("b")));
        assert!(tracer.logs(&Report::Silent { client: client("c"), cause: "x".into() }), "no detail");
        for id in ["a", "b", "c"] {
            tracer.report(&created(id), Timestamp(1));
        }
        let entries = drain(&trace);
        let seen: Vec<_> = entries.iter().map(|entry| (entry.client.client_id.clone(), entry.event)).collect();
        assert_eq!(seen, [(Some(ClientId("b".into())), "session-created")]);
        assert_eq!(tracer.set_traces([].into()), log);
        assert!(!tracer.is_on() && tracer.logs(&created("b")), "the shard does not report it");
    }

    #[test]
    fn a_client_is_known_until_its_last_packet_and_judged_again_when_the_traces_change() {
        let trace = |pattern: &str| {
            let client_id = Some(ClientPattern::new(pattern));
            Arc::new(Trace::new(TraceFilter { client_id, ..TraceFilter::default() }))
        };
        let (id, [first, second]) = (ConnectionId { slot: 0, generation: 1 }, [trace("a"), trace("*")]);
        let mut tracer = Tracer::default();
        tracer.set_traces([Arc::clone(&first)].into());
        let ping = (&ClientPacket::Pingreq, 2);
        tracer.received(id, || Some(client("b")), ping, Timestamp(1));
        tracer.received(id, || panic!("it is settled"), ping, Timestamp(1));
        assert_eq!(drain(&first).len(), 0);
        tracer.set_traces([Arc::clone(&first), Arc::clone(&second)].into());
        tracer.received(id, || None, ping, Timestamp(1));
        assert_eq!((drain(&first).len(), drain(&second).len()), (0, 1));
        let sent = tracer.before_sent(id, || None, (&ServerPacket::Pingresp, 10), Timestamp(1)).unwrap();
        tracer.sent(id, sent, 12, Timestamp(1));
        let entries = drain(&second);
        assert_eq!((entries[0].packet, entries[0].bytes, entries.len()), (Some("PINGRESP"), Some(2), 1));
        tracer.ended(id);
        assert!(tracer.before_sent(id, || None, (&ServerPacket::Pingresp, 0), Timestamp(1)).is_none());
    }
}
