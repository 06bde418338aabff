//! Makes records of subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

use super::contents::Subscription as Stored;
use super::report::{RemarkKind, Report};
use crate::broker::Record;
use crate::codec::{Qos, RetainHandling, Subscription, SubscriptionId, SubscriptionOptions};
use crate::routing::SessionKey;
use crate::topic::Filter;

/// The records of the subscriptions of one session: one for each Subscription Identifier.
pub(super) fn records(key: SessionKey, stored: &[Stored], report: &mut Report) -> Vec<Record> {
    let mut by_identifier: BTreeMap<u32, Vec<Subscription>> = BTreeMap::new();
    let mut filters = BTreeSet::new();
    for one in stored {
        match subscription(one) {
            Some(subscription) => {
                if filters.insert(&one.filter) {
                    report.subscriptions += 1;
                    by_identifier.entry(one.identifier).or_default().push(subscription);
                }
            }
            None => report.remark(RemarkKind::SubscriptionInvalid, &one.filter),
        }
    }
    let record = |(identifier, subscriptions)| Record::Subscribed {
        key,
        subscriptions,
        subscription_id: SubscriptionId::new(identifier),
        message_id: false,
    };
    by_identifier.into_iter().map(record).collect()
}

/// The subscription, if its filter and its options are valid.
fn subscription(stored: &Stored) -> Option<Subscription> {
    let filter = Filter::new(ByteString::from(std::str::from_utf8(&stored.filter).ok()?)).ok()?;
    let options = SubscriptionOptions {
        qos: Qos::new(stored.options & QOS)?,
        no_local: stored.options & NO_LOCAL != 0,
        retain_as_published: stored.options & RETAIN_AS_PUBLISHED != 0,
        retain_handling: match (stored.options & RETAIN_HANDLING) >> 4 {
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => RetainHandling::Send,
        },
    };
    Some(Subscription { filter, options })
}

/// The bits of the Subscription Options. [MQTT-3.8.3.1]
const QOS: u8 = 0x03;
const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING: u8 = 0x30;
