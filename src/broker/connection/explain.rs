//! The User Properties of CONNACK, for clients that ask for them with the User Property `explain` = `true` in CONNECT.

use bytestring::ByteString;

use crate::broker::ids::ConnectionId;
use crate::broker::persistence::durability::Durability;
use crate::broker::shard::Shard;
use crate::codec::{Connect, UserProperties, prefix_within};

impl Shard {
    /// What the client asked to be told about itself: nothing, or at most six properties, all of a bounded size.
    pub(in crate::broker) fn explanation(&self, id: ConnectionId, slot: usize, connect: &Connect) -> UserProperties {
        let mut told = UserProperties::new();
        if let Some(id) =
            self.shared.bridge_id().filter(|_| connect.properties.user_properties.contains(BRIDGE_ID, "ask"))
        {
            told.push(property(BRIDGE_ID, id.clone()));
        }
        if !asks(connect) {
            return told;
        }
        let settings = &self.settings;
        told.push(property("durability", settings.durability.name()));
        if !settings.durability_rules.is_empty() {
            told.push(property("durability-rules", settings.durability_rules.len().to_string()));
        }
        let Some(entry) = self.sessions.get(slot) else { return told };
        let strongest = settings.durability_rules.iter().map(|rule| rule.level).fold(settings.durability, Ord::max);
        told.push(property(
            "session",
            match (entry.session_expiry_interval, strongest) {
                (0, _) => "ends with the connection",
                (_, Durability::None) => "kept in memory",
                (_, Durability::Crash | Durability::PowerLoss) => "stored",
            },
        ));
        told.push(property("queued-messages", entry.session.queued().0.to_string()));
        if let Some(user) = self.connection(id).and_then(|connection| connection.verified_user()) {
            told.push(property("user", prefix_within(user, USER_LENGTH_MAX)));
        }
        told
    }
}

fn asks(connect: &Connect) -> bool {
    connect.properties.user_properties.contains("explain", "true")
}

fn property(name: &'static str, value: impl Into<ByteString>) -> (ByteString, ByteString) {
    (ByteString::from_static(name), value.into())
}

/// With the value `ask` in CONNECT: a bridge wants to know how this broker calls itself.
const BRIDGE_ID: &str = "bridge-id";
/// Maximum length of the name in the property `user`, in bytes.
const USER_LENGTH_MAX: usize = 256;
