use std::collections::HashMap;

use crate::bridge::Side;
use crate::codec::{
    ClientPacket, EncodedUserProperties, PacketId, ReasonCode, Suback, Subscribe, Subscription, Unsubscribe,
};
use crate::topic::Filter;

/// The subscriptions of a bridge at one broker, until they are answered.
#[derive(Debug)]
pub(super) struct Subscribing {
    waiting: HashMap<PacketId, Vec<Subscription>>,
    next_id: u16,
    /// Whether the broker is asked for the identities of messages.
    asks_identity: bool,
    retries: u32,
}

/// A subscription that a broker has refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefusedFilter {
    pub(super) by: Side,
    pub(super) filter: String,
    pub(super) reason_code: ReasonCode,
}

impl Subscribing {
    /// `first_id` is the first Packet Identifier that is tried: those of messages that are on their way are not known, and a broker that
    /// uses it for one of them is asked again with the next one.
    pub(super) fn new(first_id: u16, asks_identity: bool) -> Self {
        Self { waiting: HashMap::new(), next_id: first_id, asks_identity, retries: 0 }
    }

    /// The packets for these subscriptions, and those that end `stale` ones.
    pub(super) fn begin(&mut self, subscriptions: Vec<Subscription>, stale: &[String]) -> Vec<ClientPacket> {
        let filters: Vec<Filter> = stale.iter().filter_map(|filter| Filter::new(filter.clone().into()).ok()).collect();
        let mut packets: Vec<ClientPacket> = Vec::new();
        for filters in filters.chunks(FILTERS_PER_PACKET) {
            let unsubscribe = Unsubscribe {
                packet_id: self.id(),
                user_properties: EncodedUserProperties::new(),
                filters: filters.to_vec(),
            };
            packets.push(ClientPacket::Unsubscribe(Box::new(unsubscribe)));
        }
        packets.extend(subscriptions.chunks(FILTERS_PER_PACKET).map(|part| self.subscribe(part.to_vec())));
        packets
    }

    /// Whether all subscriptions are answered.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes an answer. Returns the filters that were refused, and a packet to send again.
    pub(super) fn on_suback(&mut self, by: Side, suback: &Suback) -> (Vec<RefusedFilter>, Option<ClientPacket>) {
        let Some(subscriptions) = self.waiting.remove(&suback.packet_id) else { return (Vec::new(), None) };
        let answered = subscriptions.into_iter().zip(&suback.reason_codes);
        let (mut refused, mut again) = (Vec::new(), Vec::new());
        for (subscription, code) in answered {
            if *code == ReasonCode::PacketIdentifierInUse && self.retries < RETRIES_MAX {
                again.push(subscription);
            } else if code.is_error() {
                refused.push(RefusedFilter { by, filter: subscription.filter.to_string(), reason_code: *code });
            }
        }
        self.retries += u32::from(!again.is_empty());
        let again = (!again.is_empty()).then(|| self.subscribe(again));
        (refused, again)
    }

    fn subscribe(&mut self, subscriptions: Vec<Subscription>) -> ClientPacket {
        let packet_id = self.id();
        self.waiting.insert(packet_id, subscriptions.clone());
        let identity = self.asks_identity.then_some(("message-id", "true"));
        ClientPacket::Subscribe(Box::new(Subscribe {
            packet_id,
            subscription_id: None,
            user_properties: identity.into_iter().collect(),
            subscriptions,
        }))
    }

    fn id(&mut self) -> PacketId {
        let id = PacketId::new(self.next_id.max(1)).unwrap_or(FIRST);
        self.next_id = id.number().checked_add(1).unwrap_or(1);
        id
    }
}

const FIRST: PacketId = PacketId(std::num::NonZeroU16::MIN);
/// A packet of 5.0 must stay below the Maximum Packet Size of a broker, and each filter may have some hundred bytes.
const FILTERS_PER_PACKET: usize = 16;
/// A broker has at most as many identifiers in use as the Receive Maximum, next to each other.
const RETRIES_MAX: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Qos, SubscriptionOptions};

    fn subscriptions(count: usize) -> Vec<Subscription> {
        let subscription = |number: usize| Subscription {
            filter: Filter::new(format!("f{number}").into()).unwrap(),
            options: SubscriptionOptions::new(Qos::ExactlyOnce),
        };
        (0..count).map(subscription).collect()
    }

    fn suback(packet_id: u16, reason_codes: Vec<ReasonCode>) -> Suback {
        Suback { packet_id: PacketId::new(packet_id).unwrap(), reason_codes, reason_string: None }
    }

    #[test]
    fn filters_are_sent_in_parts_and_an_identifier_in_use_is_replaced() {
        let mut subscribing = Subscribing::new(u16::MAX, true);
        let packets = subscribing.begin(subscriptions(17), &["old/#".to_owned()]);
        let ids = packets.iter().map(|packet| {
            if let ClientPacket::Subscribe(subscribe) = packet {
                return (subscribe.packet_id.number(), subscribe.subscriptions.len());
            }
            let ClientPacket::Unsubscribe(unsubscribe) = packet else { panic!("{packet:?}") };
            (unsubscribe.packet_id.number(), unsubscribe.filters.len())
        });
        assert_eq!(ids.collect::<Vec<_>>(), [(u16::MAX, 1), (1, 16), (2, 1)]);
        let (refused, again) = subscribing.on_suback(Side::There, &suback(2, vec![ReasonCode::PacketIdentifierInUse]));
        assert_eq!(refused, []);
        assert!(matches!(again, Some(ClientPacket::Subscribe(again)) if again.packet_id.number() == 3));
        let mut codes = vec![ReasonCode::GrantedQos2; 16];
        codes[3] = ReasonCode::NotAuthorized;
        let (refused, again) = subscribing.on_suback(Side::There, &suback(1, codes));
        assert_eq!((refused.len(), refused[0].filter.as_str(), again), (1, "f3", None));
        assert!(!subscribing.is_done());
        subscribing.on_suback(Side::There, &suback(3, vec![ReasonCode::GrantedQos2]));
        assert!(subscribing.is_done());
    }
}
