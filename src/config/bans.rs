use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::value::duration;

/// Clients that are slowed down or banned for a time: `[bans]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bans {
    /// The longest delay of a refused login's answer, and of the CONNECT of a client whose connections are short. 0: no delay.
    #[serde(with = "duration")]
    pub delay_max: Duration,
    /// Short connections of one address, or of one verified user, in a minute that delay nothing.
    pub short_connections_free: NonZeroU32,
    /// Short connections in a minute beyond which the address, or the verified user, is banned. Default: it isn't.
    pub short_connections_max: Option<NonZeroU32>,
    /// Refused logins in a minute beyond which their address is banned. Default: it isn't.
    pub refused_logins_max: Option<NonZeroU32>,
    /// How long a ban lasts that the broker sets.
    #[serde(with = "duration")]
    pub ban_time: Duration,
    /// Addresses that are never delayed or banned, such as those of proxies that don't pass the client's address on.
    pub exempt: Vec<IpAddr>,
}

impl Default for Bans {
    fn default() -> Self {
        Self {
            // An attacker guesses at most one password in this time on each connection, and a person waits for it.
            delay_max: Duration::from_secs(5),
            // 10,000 devices behind one address may lose their connections three times in the same bad minute.
            short_connections_free: const { NonZeroU32::new(32_768).unwrap() },
            // Many clients may share an address or a user, so the operator decides.
            short_connections_max: None,
            // As above: one device with an old password would lock out its neighbours.
            refused_logins_max: None,
            // Long enough to be noticed, short enough to end by itself.
            ban_time: Duration::from_secs(600),
            // Proxies should use the PROXY protocol.
            exempt: Vec::new(),
        }
    }
}

impl Bans {
    /// Checks what the types do not express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let minute = Duration::from_secs(60);
        [
            (self.delay_max > minute).then(|| Problem::new("bans.delay_max", "must be at most \"1m\"")),
            (self.ban_time < Duration::from_secs(1)).then(|| Problem::new("bans.ban_time", "must be at least \"1s\"")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
