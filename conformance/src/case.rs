//! What a case is.

use std::time::Duration;

use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::Version;

/// One test of one or more statements, run once for each version it has statements of.
#[derive(Debug)]
pub struct Case {
    /// Its name, unique, in snake_case: what the broker does when it is right.
    pub name: &'static str,
    v3: &'static [&'static str],
    v5: &'static [&'static str],
    /// What the broker has to have for the case to say anything.
    pub features: &'static [Feature],
    /// How long it may take.
    pub time: Duration,
    /// Whether what other cases do would be in its way.
    pub alone: bool,
    /// What it does.
    pub run: fn(&mut Context) -> Outcome,
}

/// What a broker may lack, or the suite may not be able to do to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// PUBLISH at QoS 1.
    Qos1,
    /// PUBLISH at QoS 2.
    Qos2,
    /// Retained messages.
    Retain,
    /// Topic Filters with wildcards.
    Wildcards,
    /// Subscription Identifiers.
    SubscriptionIdentifiers,
    /// Shared Subscriptions.
    SharedSubscriptions,
    /// Topic Aliases from the client to the server.
    TopicAliases,
    /// The suite has started the broker, and gives the case one of its own to restart.
    Restart,
    /// The broker listens for WebSockets.
    WebSocket,
}

impl Case {
    /// How long a case may take that doesn't ask for more.
    pub const TIME: Duration = Duration::from_secs(10);

    /// A case of both versions, with the statements of 3.1.1 and of 5.0.
    pub const fn both(
        name: &'static str,
        v3: &'static [&'static str],
        v5: &'static [&'static str],
        run: fn(&mut Context) -> Outcome,
    ) -> Self {
        Self { name, v3, v5, features: &[], time: Self::TIME, alone: false, run }
    }

    /// A case of 5.0 only.
    pub const fn v5(name: &'static str, statements: &'static [&'static str], run: fn(&mut Context) -> Outcome) -> Self {
        Self::both(name, &[], statements, run)
    }

    /// A case of 3.1.1 only.
    pub const fn v3(name: &'static str, statements: &'static [&'static str], run: fn(&mut Context) -> Outcome) -> Self {
        Self::both(name, statements, &[], run)
    }

    /// Without one of these the case is skipped.
    pub const fn needs(mut self, features: &'static [Feature]) -> Self {
        self.features = features;
        self
    }

    /// It may take this long.
    pub const fn seconds(mut self, seconds: u64) -> Self {
        self.time = Duration::from_secs(seconds);
        self
    }

    /// It subscribes to what other cases publish, or the like: it gets a broker of its own, or runs after all others.
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// The statements of a version; none if the case isn't for it.
    pub const fn statements(&self, version: Version) -> &'static [&'static str] {
        match version {
            Version::V3 => self.v3,
            Version::V5 => self.v5,
        }
    }
}
