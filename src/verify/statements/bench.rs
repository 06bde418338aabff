//! What a check has: the broker, and names of its own.

use std::net::SocketAddr;

use oncemq::codec::{Connect, ProtocolVersion};

use crate::verify::client::{Client, Outcome, Session, connect};

/// A statement, and how it is checked.
pub(super) struct Statement {
    /// As the standard numbers it.
    pub(super) id: &'static str,
    pub(super) version: ProtocolVersion,
    /// What it asks for, in few words.
    pub(super) what: &'static str,
    pub(super) check: fn(&Bench) -> Outcome,
}

/// The broker, and the names of one check.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) address: SocketAddr,
    pub(super) version: ProtocolVersion,
    pub(super) number: usize,
}

impl Bench {
    /// A name that no other check uses.
    pub(super) fn name(&self, role: &str) -> String {
        format!("{role}-{}", self.number)
    }

    pub(super) fn topic(&self, level: &str) -> String {
        format!("check/{}/{level}", self.number)
    }

    pub(super) fn connect(&self, role: &str, session: Session) -> Connect {
        connect(self.version, &self.name(role), session)
    }

    /// A client of a Session that ends with the connection.
    pub(super) fn client(&self, role: &str) -> Outcome<Client> {
        Client::accepted(self.address, &self.connect(role, Session::Transient))
    }

    /// A client of a Session that is kept.
    pub(super) fn kept(&self, role: &str) -> Outcome<Client> {
        Client::accepted(self.address, &self.connect(role, Session::Resumed))
    }
}

/// An error with this text unless `is_so`.
pub(super) fn ensure(is_so: bool, text: impl FnOnce() -> String) -> Outcome {
    if is_so { Ok(()) } else { Err(text()) }
}

pub(super) const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
pub(super) const V5: ProtocolVersion = ProtocolVersion::V5;
