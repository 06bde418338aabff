//! Essential statements of the standards, as a client sees them. The `conformance` crate of the repository has all of them, for any broker.

mod connection;
mod delivery;
mod only_5;
mod retained;

use std::net::SocketAddr;
use std::thread;

use oncemq::codec::{Connect, ProtocolVersion};

use super::client::{Client, Outcome, Session, connect};
use super::stop::Stop;

/// A statement, and how it is checked.
struct Statement {
    /// As the standard numbers it.
    id: &'static str,
    version: ProtocolVersion,
    /// What it asks for, in few words.
    what: &'static str,
    check: fn(&Bench) -> Outcome,
}

/// What is found about a statement.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) id: &'static str,
    pub(super) version: ProtocolVersion,
    pub(super) what: &'static str,
    pub(super) outcome: Outcome,
}

/// The broker, and the names of one check.
#[derive(Debug)]
struct Bench {
    address: SocketAddr,
    version: ProtocolVersion,
    number: usize,
}

impl Bench {
    /// A name that no other check uses.
    fn name(&self, role: &str) -> String {
        format!("{role}-{}", self.number)
    }

    fn topic(&self, level: &str) -> String {
        format!("check/{}/{level}", self.number)
    }

    fn connect(&self, role: &str, session: Session) -> Connect {
        connect(self.version, &self.name(role), session)
    }

    /// A client of a Session that ends with the connection.
    fn client(&self, role: &str) -> Outcome<Client> {
        Client::accepted(self.address, &self.connect(role, Session::Transient))
    }

    /// A client of a Session that is kept.
    fn kept(&self, role: &str) -> Outcome<Client> {
        Client::accepted(self.address, &self.connect(role, Session::Resumed))
    }
}

/// Checks all statements, some at a time: most of the time they wait.
pub(super) fn check(address: SocketAddr, stop: &Stop) -> Vec<Checked> {
    let tables = [connection::STATEMENTS, delivery::STATEMENTS, retained::STATEMENTS, only_5::STATEMENTS];
    let statements: Vec<_> = tables.into_iter().flatten().enumerate().collect();
    let check_one = |(number, statement): &(usize, &Statement)| {
        let Statement { id, version, what, check } = **statement;
        let outcome = check(&Bench { address, version, number: *number });
        (*number, Checked { id, version, what, outcome })
    };
    let mut checked: Vec<(usize, Checked)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let part = statements.iter().filter(move |(number, _)| number % THREADS == thread);
                scope.spawn(move || part.take_while(|_| !stop.is_set()).map(check_one).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    });
    checked.sort_by_key(|(number, _)| *number);
    checked.into_iter().map(|(_, checked)| checked).collect()
}

/// An error with this text unless `is_so`.
fn ensure(is_so: bool, text: impl FnOnce() -> String) -> Outcome {
    if is_so { Ok(()) } else { Err(text()) }
}

const THREADS: usize = 6;
const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
const V5: ProtocolVersion = ProtocolVersion::V5;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_statement_is_checked_once() {
        let tables = [connection::STATEMENTS, delivery::STATEMENTS, retained::STATEMENTS, only_5::STATEMENTS];
        let ids: Vec<_> = tables.into_iter().flatten().map(|statement| (statement.id, statement.version)).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!((30..=45).contains(&ids.len()), "{}", ids.len());
    }
}
