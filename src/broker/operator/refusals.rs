//! The log of refusals.

use crate::broker::operator::budget::Budget;
use crate::broker::operator::query::{LogPage, LogRequest, RefusalView, RefusedAction};
use crate::broker::operator::ring::Ring;
use crate::broker::report::ClientLabel;
use crate::codec::{ReasonCode, prefix_within};
use crate::timestamp::Timestamp;

/// The last refusals of a shard. At most [`PER_SECOND`] are noted in a second, and the others are counted, so that a flood of them costs little.
#[derive(Debug)]
pub(in crate::broker) struct Refusals {
    ring: Ring<RefusalView>,
    budget: Budget,
    last: u64,
    left_out: u64,
}

/// A refusal.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Refused<'a> {
    pub(in crate::broker) action: RefusedAction,
    pub(in crate::broker) reason_code: ReasonCode,
    /// The access rule, or the limit.
    pub(in crate::broker) rule: Option<&'a str>,
    /// The cause; `None`: the name of the Reason Code.
    pub(in crate::broker) reason: Option<&'a str>,
    pub(in crate::broker) topic: Option<&'a str>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { ring: Ring::default(), budget: Budget::new(PER_SECOND), last: 0, left_out: 0 }
    }
}

impl Refusals {
    /// Notes a refusal, or counts it if there were too many in this second.
    pub(in crate::broker) fn note(&mut self, now: Timestamp, client: &ClientLabel, refused: Refused<'_>) {
        if !self.budget.take(now) {
            self.left_out += 1;
            return;
        }
        let Refused { action, reason_code, rule, reason, topic } = refused;
        let view = RefusalView {
            at: now,
            action,
            client_id: client.client_id.as_ref().map(|client_id| short(client_id.as_str())),
            user: client.user.as_deref().map(short),
            address: client.address,
            reason_code,
            rule: rule.map(short),
            reason: reason.map_or_else(|| short(&reason_code.to_string()), short),
            topic: topic.map(short),
        };
        let texts = [&view.client_id, &view.user, &view.rule, &view.topic];
        let bytes = texts.into_iter().flatten().map(|text| text.len()).sum::<usize>() + view.reason.len();
        self.last += 1;
        self.ring.push(self.last, view, bytes);
    }

    pub(in crate::broker) fn page(&self, LogRequest { before, limit }: LogRequest) -> LogPage<RefusalView> {
        let newest = self.ring.newest_before(before).take(limit);
        let mut entries: Vec<_> = newest.map(|(number, view)| (number, view.clone())).collect();
        entries.reverse();
        LogPage { entries, left_out: self.left_out }
    }
}

fn short(text: &str) -> Box<str> {
    cut(text).into()
}

/// A text of a client as a log keeps it.
pub(in crate::broker) fn cut(text: &str) -> &str {
    prefix_within(text, TEXT_MAX)
}

const PER_SECOND: u32 = 100;
/// The greatest length of a text in a log, in bytes.
const TEXT_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ClientId;

    #[test]
    fn a_flood_is_counted_and_texts_are_cut() {
        let mut refusals = Refusals::default();
        let client = ClientLabel { client_id: Some(ClientId("ü".repeat(1_000).into())), ..ClientLabel::default() };
        let refused = Refused {
            action: RefusedAction::Publish,
            reason_code: ReasonCode::NotAuthorized,
            rule: Some("denied by acl.conf:1"),
            reason: None,
            topic: Some("t"),
        };
        for _ in 0..PER_SECOND + 7 {
            refusals.note(Timestamp(5_000), &client, refused);
        }
        refusals.note(Timestamp(6_000), &client, refused);
        let page = refusals.page(LogRequest { before: None, limit: 1_000 });
        assert_eq!((page.entries.len(), page.left_out), (PER_SECOND as usize + 1, 7));
        let (last, view) = page.entries.last().unwrap();
        assert_eq!((view.at, view.client_id.as_ref().unwrap().len()), (Timestamp(6_000), TEXT_MAX));
        assert_eq!(&*view.reason, ReasonCode::NotAuthorized.to_string());
        let before = refusals.page(LogRequest { before: Some(*last), limit: 2 });
        assert_eq!(before.entries.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [last - 2, last - 1]);
    }
}
