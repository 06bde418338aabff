//! Test cases.

use std::time::Duration;

use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::Version;

/// A test of one or more statements. It runs once for each version in which it has statements.
#[derive(Debug)]
pub struct Case {
    /// Its unique name in snake_case, which states the correct behaviour.
    pub name: &'static str,
    v3: &'static [&'static str],
    v5: &'static [&'static str],
    /// Features that the broker must have for the case to apply.
    pub features: &'static [Feature],
    /// Its time limit.
    pub time: Duration,
    /// Whether concurrent cases would disturb it.
    pub alone: bool,
    /// The function that runs it.
    pub run: fn(&mut Context) -> Outcome,
}

/// A feature that a broker may lack, or that the suite's setup may lack.
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
    /// The suite started the broker, and gives the case its own broker to restart.
    Restart,
    /// The broker listens for WebSockets.
    WebSocket,
}

impl Case {
    /// The default time limit of a case.
    pub const TIME: Duration = Duration::from_secs(10);

    /// A case for both versions, with the statements of 3.1.1 and of 5.0.
    pub const fn both(
        name: &'static str,
        v3: &'static [&'static str],
        v5: &'static [&'static str],
        run: fn(&mut Context) -> Outcome,
    ) -> Self {
        Self { name, v3, v5, features: &[], time: Self::TIME, alone: false, run }
    }

    /// A case for 5.0 only.
    pub const fn v5(name: &'static str, statements: &'static [&'static str], run: fn(&mut Context) -> Outcome) -> Self {
        Self::both(name, &[], statements, run)
    }

    /// A case for 3.1.1 only.
    pub const fn v3(name: &'static str, statements: &'static [&'static str], run: fn(&mut Context) -> Outcome) -> Self {
        Self::both(name, statements, &[], run)
    }

    /// Skips the case unless the broker has these features.
    pub const fn needs(mut self, features: &'static [Feature]) -> Self {
        self.features = features;
        self
    }

    /// Sets the time limit.
    pub const fn seconds(mut self, seconds: u64) -> Self {
        self.time = Duration::from_secs(seconds);
        self
    }

    /// For a case that other cases' messages would disturb: it gets its own broker, or runs after all others.
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// The statements of a version; empty if the case doesn't apply to it.
    pub const fn statements(&self, version: Version) -> &'static [&'static str] {
        match version {
            Version::V3 => self.v3,
            Version::V5 => self.v5,
        }
    }
}
