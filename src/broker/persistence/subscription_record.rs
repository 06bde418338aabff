//! The record of subscriptions.

use crate::broker::persistence::body::{Body, put_length, put_subscription};
use crate::broker::persistence::encode::RecordBytes;
use crate::broker::persistence::record::Record;
use crate::broker::persistence::record_key::RecordKey;
use crate::codec::{Subscription, SubscriptionId};

impl Record {
    pub(super) fn put_subscribed(&self, bytes: &mut RecordBytes) {
        let Self::Subscribed { key, subscriptions, subscription_id, message_id } = self else { return };
        bytes.puts = subscriptions.iter().map(|one| RecordKey::subscription(*key, &one.filter)).collect();
        bytes.body.extend(subscription_id.map_or(0, SubscriptionId::get).to_le_bytes());
        put_length(&mut bytes.body, subscriptions.len());
        for subscription in subscriptions {
            put_subscription(&mut bytes.body, subscription);
        }
        bytes.body.push(u8::from(*message_id));
    }
}

/// The body of [`Record::Subscribed`].
pub(in crate::broker) fn read_subscriptions(body: &[u8]) -> Option<(Vec<Subscription>, Option<SubscriptionId>, bool)> {
    let body = &mut Body(body);
    let id = SubscriptionId::new(body.u32()?);
    let count = body.length()?;
    let subscriptions = (0..count).map(|_| body.subscription()).collect::<Option<_>>()?;
    Some((subscriptions, id, body.bool()?))
}
