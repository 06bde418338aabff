use super::Stored;
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::persistence::subscription_record::read_subscriptions;
use crate::routing::SessionKey;

impl Stored {
    /// Adds the subscriptions of a record that are still stored under these keys. `None`: it can't be read.
    pub(super) fn add_subscriptions(&mut self, group: u64, body: &[u8], puts: &[RecordKey]) -> Option<()> {
        let (subscriptions, id, message_id) = read_subscriptions(body)?;
        self.message_ids |= message_id;
        for subscription in subscriptions {
            let key = RecordKey::subscription(SessionKey(group), &subscription.filter);
            if puts.contains(&key) {
                self.subscriptions.insert(key.id, (subscription, id));
            }
        }
        Some(())
    }
}
