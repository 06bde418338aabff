//! What a client is offered at its CONNECT: by its listener, or else by the settings for all.

use std::num::NonZeroU16;

use crate::broker::ids::ConnectionId;
use crate::broker::listener_terms::ListenerTerms;
use crate::broker::shard::Shard;
use crate::codec::Qos;

/// What a client is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Offer {
    pub(in crate::broker) maximum_qos: Qos,
    pub(in crate::broker) retain_available: bool,
    pub(in crate::broker) topic_alias_maximum: u16,
    pub(in crate::broker) topic_alias_maximum_outgoing: u16,
    /// In seconds.
    pub(in crate::broker) keep_alive_max: Option<NonZeroU16>,
}

impl Shard {
    /// What the listener of a connection says for its clients. `None`: nothing; also if it has another name now than when it accepted the
    /// connection.
    pub(in crate::broker) fn listener_terms(&self, id: ConnectionId) -> Option<&ListenerTerms> {
        let name = &*self.connection(id)?.identity.peer.listener;
        self.settings.listeners.iter().find(|terms| *terms.name == *name)
    }

    /// What the client of a connection is offered.
    pub(in crate::broker) fn offer(&self, id: ConnectionId) -> Offer {
        let (settings, own) = (&self.settings, self.listener_terms(id));
        let alias = own.and_then(|own| own.topic_alias_maximum).unwrap_or(settings.topic_alias_maximum);
        let outgoing = own.and_then(|own| own.topic_alias_maximum_outgoing);
        Offer {
            maximum_qos: own.and_then(|own| own.maximum_qos).unwrap_or(settings.maximum_qos),
            retain_available: own.and_then(|own| own.retain_available).unwrap_or(settings.retain_available),
            topic_alias_maximum: alias,
            topic_alias_maximum_outgoing: outgoing.unwrap_or(settings.topic_alias_maximum_outgoing),
            keep_alive_max: own.and_then(|own| own.keep_alive_max).or(settings.keep_alive_max),
        }
    }
}
