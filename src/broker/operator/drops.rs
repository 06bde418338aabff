//! The log of dropped messages.

use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::broker::counters::DropReason;
use crate::broker::operator::budget::Budget;
use crate::broker::operator::query::{DropView, LogPage, LogRequest};
use crate::broker::operator::refusals::cut;
use crate::broker::operator::ring::Ring;
use crate::codec::{MessageId, Qos};
use crate::session::Delivery;
use crate::timestamp::Timestamp;

/// The last messages that a shard dropped. Those of one client, topic and reason within a second are one entry.
///
/// At most [`ENTRIES_PER_SECOND`] entries are added in a second, and [`NOTED_PER_SECOND`] messages are looked at; the others are counted. Drops that
/// clients expect have a log of their own, so that they do not displace the others.
#[derive(Debug)]
pub(in crate::broker) struct Drops {
    /// By [`is_expected`].
    rings: [Ring<DropView>; 2],
    entries: Budget,
    noted: Budget,
    /// The entries of this second by the hash of client, topic and reason. Has at most [`ENTRIES_PER_SECOND`].
    recent: HashMap<u64, u64, foldhash::fast::RandomState>,
    second: u64,
    hasher: foldhash::fast::RandomState,
    last: u64,
    left_out: u64,
}

/// Messages that are not delivered.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Lost<'a> {
    pub(in crate::broker) client_id: &'a str,
    pub(in crate::broker) topic: Option<&'a str>,
    pub(in crate::broker) qos: Option<Qos>,
    pub(in crate::broker) reason: DropReason,
    pub(in crate::broker) count: u64,
    /// If it is one.
    pub(in crate::broker) message_id: Option<MessageId>,
}

impl<'a> Lost<'a> {
    /// Messages of which only the number is known.
    pub(in crate::broker) const fn several(client_id: &'a str, count: u64, reason: DropReason) -> Self {
        Self { client_id, topic: None, qos: None, reason, count, message_id: None }
    }

    /// One message.
    pub(in crate::broker) fn delivery(client_id: &'a str, delivery: &'a Delivery, reason: DropReason) -> Self {
        let topic = Some(delivery.message.topic.as_str());
        let message_id = delivery.message.id;
        Self { client_id, topic, qos: Some(delivery.qos), reason, count: 1, message_id }
    }
}

impl Default for Drops {
    fn default() -> Self {
        Self {
            rings: [Ring::default(), Ring::default()],
            entries: Budget::new(ENTRIES_PER_SECOND),
            noted: Budget::new(NOTED_PER_SECOND),
            recent: HashMap::default(),
            second: 0,
            hasher: foldhash::fast::RandomState::default(),
            last: 0,
            left_out: 0,
        }
    }
}

impl Drops {
    /// Notes dropped messages, or counts them if there were too many in this second.
    #[inline(never)]
    pub(in crate::broker) fn note(&mut self, now: Timestamp, lost: Lost<'_>) {
        let Lost { client_id, topic, qos, reason, count, message_id: _ } = lost;
        if count == 0 {
            return;
        }
        if !self.noted.take(now) {
            self.left_out += count;
            return;
        }
        let second = now.0 / 1_000;
        if second != self.second {
            self.second = second;
            self.recent.clear();
        }
        let key = self.hasher.hash_one((client_id, topic, reason));
        let [expected, others] = &mut self.rings;
        let ring = if is_expected(reason) { expected } else { others };
        let (client_id, topic) = (cut(client_id), topic.map(cut));
        if let Some(entry) = self.recent.get(&key).and_then(|number| ring.get_mut(*number))
            && (&*entry.client_id, entry.topic.as_deref(), entry.reason) == (client_id, topic, reason)
        {
            entry.count += count;
        } else if self.entries.take(now) {
            self.last += 1;
            self.recent.insert(key, self.last);
            let bytes = client_id.len() + topic.map_or(0, str::len);
            let (client_id, topic) = (client_id.into(), topic.map(Into::into));
            ring.push(self.last, DropView { at: now, client_id, topic, qos, reason, count }, bytes);
        } else {
            self.left_out += count;
        }
    }

    pub(in crate::broker) fn page(&self, LogRequest { before, limit }: LogRequest) -> LogPage<DropView> {
        let newest = self.rings.iter().flat_map(|ring| ring.newest_before(before).take(limit));
        let mut newest: Vec<_> = newest.collect();
        newest.sort_unstable_by_key(|(number, _)| *number);
        let older = newest.len().saturating_sub(limit);
        let entries = newest.into_iter().skip(older).map(|(number, view)| (number, view.clone())).collect();
        LogPage { entries, left_out: self.left_out }
    }
}

/// Whether clients expect such drops: a QoS 0 message without a connection, and one whose Message Expiry Interval has passed.
const fn is_expected(reason: DropReason) -> bool {
    matches!(reason, DropReason::NotConnected | DropReason::Expired)
}

const ENTRIES_PER_SECOND: u32 = 100;
/// A message costs about 100 ns, so this bounds the cost of a flood to about 0.1 % of a core.
const NOTED_PER_SECOND: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(client_id: &'static str, topic: Option<&'static str>, reason: DropReason) -> Lost<'static> {
        Lost { topic, qos: Some(Qos::AtLeastOnce), ..Lost::several(client_id, 1, reason) }
    }

    fn counts(drops: &Drops) -> Vec<(String, u64)> {
        let entries = drops.page(LogRequest { before: None, limit: 1_000 }).entries;
        entries.into_iter().map(|(_, view)| (view.client_id.to_string(), view.count)).collect()
    }

    #[test]
    fn drops_of_one_client_topic_and_reason_within_a_second_are_one_entry() {
        let mut drops = Drops::default();
        for at in [1_000, 1_500, 1_999] {
            drops.note(Timestamp(at), lost("a", Some("t"), DropReason::QueueFull));
            drops.note(Timestamp(at), lost("b", Some("t"), DropReason::NotConnected));
        }
        drops.note(Timestamp(1_999), lost("a", Some("u"), DropReason::QueueFull));
        drops.note(Timestamp(1_999), lost("a", Some("t"), DropReason::Expired));
        drops.note(Timestamp(2_000), lost("a", Some("t"), DropReason::QueueFull));
        drops.note(Timestamp(2_000), Lost::several("c", 12, DropReason::SessionEnded));
        drops.note(Timestamp(2_000), Lost::several("c", 0, DropReason::SessionEnded));
        let expected = [("a", 3), ("b", 3), ("a", 1), ("a", 1), ("a", 1), ("c", 12)];
        assert_eq!(counts(&drops), expected.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn what_a_flood_leaves_out_is_counted() {
        let mut drops = Drops::default();
        let names: Vec<&'static str> = (0..200).map(|number| &*format!("c{number}").leak()).collect();
        for name in &names {
            drops.note(Timestamp(1_000), lost(name, None, DropReason::SlowReceiver));
        }
        assert_eq!(drops.page(LogRequest { before: None, limit: 1_000 }).left_out, 100);
        for _ in 0..NOTED_PER_SECOND {
            drops.note(Timestamp(1_000), lost("c0", None, DropReason::SlowReceiver));
        }
        let page = drops.page(LogRequest { before: None, limit: 1_000 });
        let noted: u64 = page.entries.iter().map(|(_, view)| view.count).sum();
        assert_eq!(noted + page.left_out, 200 + u64::from(NOTED_PER_SECOND));
        assert_eq!(page.entries.len(), 100);
        assert!(drops.recent.len() <= ENTRIES_PER_SECOND as usize);
    }

    #[test]
    fn expected_drops_displace_no_others() {
        let mut drops = Drops::default();
        drops.note(Timestamp(1_000), lost("full", None, DropReason::QueueFull));
        for second in 2..40 {
            for name in (0..100).map(|number| &*format!("{number}").leak()) {
                drops.note(Timestamp(second * 1_000), lost(name, None, DropReason::NotConnected));
            }
        }
        let entries = drops.page(LogRequest { before: None, limit: 2_000 }).entries;
        assert_eq!(&*entries.first().unwrap().1.client_id, "full");
        let page = drops.page(LogRequest { before: Some(entries[500].0), limit: 10 });
        assert_eq!(page.entries, entries[490..500]);
    }
}
