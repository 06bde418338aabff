//! The Reason Strings of SUBACK.

use std::borrow::Cow;

use crate::broker::ids::ConnectionId;
use crate::broker::memory::MEMORY_SHORT;
use crate::broker::shard::Shard;
use crate::codec::{ReasonCode, Subscribe, Subscription, prefix_within};

impl Shard {
    /// Names the first refused subscription of a packet to its client. There is one Reason String for all.
    pub(super) fn why_first_refused(
        &self,
        (slot, id): (usize, ConnectionId),
        subscribe: &Subscribe,
        reason_codes: &[ReasonCode],
    ) -> Option<String> {
        let mut answers = subscribe.subscriptions.iter().zip(reason_codes.iter().copied());
        let (subscription, reason_code) = answers.find(|(_, reason_code)| reason_code.is_error())?;
        if let Some(why) = self.why_stream_refused((slot, id), (subscription, reason_code), subscribe) {
            return Some(format!("{}: {why}", shown(subscription)));
        }
        Some(self.why_refused(id, subscription, reason_code))
    }

    /// Names a refused subscription to its client, without the access rule.
    pub(super) fn why_refused(&self, id: ConnectionId, subscription: &Subscription, reason_code: ReasonCode) -> String {
        let why = if reason_code == ReasonCode::NotAuthorized {
            "not authorized to subscribe".into()
        } else if reason_code == ReasonCode::QuotaExceeded && self.is_memory_short() {
            MEMORY_SHORT.into()
        } else if reason_code == ReasonCode::QuotaExceeded {
            let class = self.class_of(id);
            let subscriptions_max = self.settings.subscriptions_max(class);
            let own = self.settings.user_limits.of(class).and_then(|own| own.subscriptions_per_session_max);
            let of = own.and(class.index()).map(|index| format!("user_limits[{index}].")).unwrap_or_default();
            let other = if subscription.filter.is_exclusive { "another client is subscribed, or " } else { "" };
            format!("{other}{of}subscriptions_per_session_max ({subscriptions_max}) is reached")
        } else {
            let mount_point = self.connection(id).and_then(|connection| connection.access.mount_point());
            let full = mount_point.map_or(Ok(Cow::Borrowed(&subscription.filter)), |mount_point| {
                mount_point.filter(&subscription.filter).map(Cow::Owned)
            });
            match full {
                Ok(full) => {
                    let fault = self.topic_fault(full.topic_filter.as_str());
                    fault.unwrap_or_else(|| reason_code.to_string())
                }
                Err(fault) => fault.to_string(),
            }
        };
        format!("{}: {why}", shown(subscription))
    }
}

/// The Topic Filter of a subscription, cut if it is long.
fn shown(subscription: &Subscription) -> String {
    let filter = subscription.filter.to_string();
    let shown = prefix_within(&filter, SHOWN_FILTER_MAX);
    let cut = if shown.len() < filter.len() { "..." } else { "" };
    format!("{shown}{cut}")
}

/// How much of a Topic Filter is repeated in a Reason String, in bytes.
const SHOWN_FILTER_MAX: usize = 100;
