//! Subscriptions that the broker makes for clients, as if they had sent SUBSCRIBE.

use std::sync::Arc;

use crate::broker::ids::ConnectionId;
use crate::broker::rewriting::whose;
use crate::broker::settings::AutoSubscription;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{EncodedUserProperties, PacketId, Subscribe, Subscription};
use crate::topic::Filter;

impl Shard {
    /// Makes the subscriptions that the operator wants for a client that has connected. One whose topic the client's names cannot be a part of,
    /// or that the access rules deny, is not made. Clients of the broker's own get none.
    pub(super) fn auto_subscribe(&mut self, slot: usize, id: ConnectionId, turn: &mut Turn<'_>) {
        if self.settings.auto_subscriptions.is_empty() {
            return;
        }
        let Some(connection) = self.connection(id).filter(|connection| !connection.identity.owner.is_of_broker())
        else {
            return;
        };
        let (whose, listener) = (whose(connection), &connection.identity.peer.listener);
        let is_for = |one: &&AutoSubscription| {
            let of_user = |users: &[Arc<str>]| users.iter().any(|user| whose.user == Some(user));
            (one.users.is_empty() || of_user(&one.users))
                && (one.listeners.is_empty() || one.listeners.contains(listener))
        };
        let subscription = |one: &AutoSubscription| {
            let filter = Filter::new(one.topic.fill_for(whose).ok()?.into()).ok()?;
            Some(Subscription { filter, options: one.options })
        };
        let wanted = self.settings.auto_subscriptions.iter().filter(is_for).filter_map(subscription);
        let subscriptions: Vec<Subscription> = wanted.collect();
        let (user_properties, count) = (EncodedUserProperties::new(), subscriptions.len());
        let Some(packet_id) = PacketId::new(1).filter(|_| count > 0) else { return };
        let subscribe = Subscribe { packet_id, subscription_id: None, user_properties, subscriptions };
        self.subscribe_part(slot, (id, &subscribe, 0..count), turn);
    }
}
