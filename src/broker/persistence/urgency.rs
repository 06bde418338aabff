//! How long what a record says may be lost, and how soon it must be committed.

use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::record::{Record, WillState};
use crate::codec::Qos;

impl Record {
    /// The durability that makes the record stable; `None` if nothing waits for it.
    ///
    /// Records of Sessions, subscriptions and the QoS 2 handshake have the highest level, because messages of every level depend on them.
    pub const fn durability(&self) -> Option<Durability> {
        match self {
            // A retained message of a client at QoS 0. The copies of a Will wait for the record that deletes it, so a Will is excepted.
            Self::Accepted { qos: Qos::AtMostOnce, instead_of: None, is_awaited: false, .. } => None,
            Self::Accepted { durability, .. } => Some(*durability),
            Self::Done { .. }
            | Self::CopyLeft { .. }
            | Self::ReceiptRemoved { .. }
            | Self::DeduplicationRemoved { .. }
            | Self::RetainedObsolete(_)
            | Self::Redelivery { .. }
            | Self::RedeliveryRemoved { .. }
            | Self::DelayedRemoved { .. }
            | Self::GroupStored { is_awaited: false, .. } => None,
            // Without the record, the Session counts as connected until the crash.
            Self::SessionDetached { will: WillState::Absent, .. } => None,
            Self::SessionOpened { .. }
            | Self::SessionDetached { .. }
            | Self::SessionEnded { .. }
            | Self::SessionReplaced { .. }
            | Self::SessionGone { .. }
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. }
            | Self::StreamPosition { .. }
            | Self::StreamPositionsRemoved { .. }
            | Self::RetainedDeletion { .. }
            | Self::DeadLetterKept { .. }
            | Self::DeadLettersRemoved { .. }
            | Self::ReceivedReleased { .. }
            | Self::OutboundReleased { .. }
            | Self::GroupStored { .. }
            | Self::GroupRemoved { .. }
            | Self::Fence => Some(Durability::PowerLoss),
        }
    }

    /// Whether it is committed as soon as possible. Else it is committed with others, after 50 ms at the latest, which is soon enough for the second half of
    /// the handshake between two cells: what it removes takes room, and no client waits for it.
    pub const fn is_urgent(&self) -> bool {
        let is_later = matches!(
            self,
            Self::ReceivedReleased { is_of_link: true, .. } | Self::OutboundReleased { is_of_link: true, .. }
        );
        self.durability().is_some() && !is_later
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::SessionKey;
    use crate::timestamp::Timestamp;

    #[test]
    fn the_end_of_a_connection_is_awaited_only_if_it_had_a_will() {
        let awaited = [WillState::Absent, WillState::Gone, WillState::Delayed].map(|will| {
            let (key, at) = (SessionKey(1), Timestamp(1));
            let record = Record::SessionDetached { key, session_expiry_interval: 9, at, will, sent_until: 1 };
            record.durability().is_some()
        });
        assert_eq!(awaited, [false, true, true]);
    }
}
