//! Essential statements of the standards, as a client sees them. The `conformance` crate of the repository has all of them, for any broker.

mod bench;
mod connection;
mod delivery;
mod only_5;
mod retained;

use std::net::SocketAddr;
use std::thread;

use oncemq::codec::ProtocolVersion;

use super::client::Outcome;
use super::stop::Stop;
use bench::{Bench, Statement};

/// What is found about a statement.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) id: &'static str,
    pub(super) version: ProtocolVersion,
    pub(super) what: &'static str,
    pub(super) outcome: Outcome,
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

const THREADS: usize = 6;
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
