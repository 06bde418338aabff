use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::ProtocolError;
use crate::codec::{AliasUse, Message, TopicAlias};
use crate::topic::TopicName;

/// The Topic Aliases that a client has set on this connection.
#[derive(Debug, Default)]
pub(super) struct InboundAliases {
    maximum: u16,
    #[expect(clippy::box_collection, reason = "most clients set no alias, and every connection has this structure")]
    topics: Option<Box<HashMap<TopicAlias, TopicName, RandomState>>>,
}

impl InboundAliases {
    /// No aliases; `maximum` is the Topic Alias Maximum of our CONNACK.
    pub(super) fn new(maximum: u16) -> Self {
        Self { maximum, topics: None }
    }

    /// Sets the alias of a PUBLISH, or replaces an alias by its Topic Name.
    pub(super) fn resolve(
        &mut self,
        (alias, alias_use): (TopicAlias, AliasUse),
        message: &mut Arc<Message>,
    ) -> Result<(), ProtocolError> {
        if alias.get() > self.maximum {
            return Err(ProtocolError::TopicAliasInvalid { alias: alias.get(), maximum: self.maximum }); // [MQTT-3.3.2-9]
        }
        match alias_use {
            AliasUse::Set => drop(self.topics.get_or_insert_default().insert(alias, message.topic.detached())),
            AliasUse::Known => {
                let topic = self.topics.as_ref().and_then(|topics| topics.get(&alias));
                let unknown = ProtocolError::TopicAliasUnknown { alias: alias.get() };
                Arc::make_mut(message).topic = topic.cloned().ok_or(unknown)?;
            }
        }
        Ok(())
    }
}

/// The Topic Aliases that we have set on this connection: the first topics that are long enough to save bytes get one.
#[derive(Debug, Default)]
pub(super) struct OutboundAliases {
    maximum: u16,
    #[expect(clippy::box_collection, reason = "most clients permit no alias, and every connection has this structure")]
    aliases: Option<Box<HashMap<TopicName, TopicAlias, RandomState>>>,
}

impl OutboundAliases {
    /// No aliases; none will be above `maximum`.
    pub(super) fn new(maximum: u16) -> Self {
        Self { maximum, aliases: None }
    }

    /// The alias for `topic`, of which the bytes from `start` on are sent, if it has one or a number is free. If a new alias is sent, the
    /// caller must call [`set`](Self::set).
    pub(super) fn offer(&self, topic: &TopicName, start: u16) -> Option<(TopicAlias, AliasUse)> {
        if self.maximum == 0 || topic.as_str().len() <= ALIAS_BYTES + usize::from(start) {
            return None;
        }
        let aliases = self.aliases.as_deref();
        if let Some(alias) = aliases.and_then(|aliases| aliases.get(topic)) {
            return Some((*alias, AliasUse::Known));
        }
        let number =
            u16::try_from(aliases.map_or(0, HashMap::len) + 1).ok().filter(|number| *number <= self.maximum)?;
        Some((NonZeroU16::new(number)?, AliasUse::Set))
    }

    /// Records that the alias is sent to the client.
    pub(super) fn set(&mut self, alias: TopicAlias, topic: &TopicName) {
        self.aliases.get_or_insert_default().insert(topic.detached(), alias);
    }
}

/// The size of a Topic Alias in a packet in bytes: its identifier and two bytes.
const ALIAS_BYTES: usize = 3;
