//! Tells the sources of entries which of their tickets are stable.

use super::pending::Urgency;

/// The highest ticket of each source in a commit, and the highest urgency.
pub(super) type Tickets = Vec<Option<(u64, Urgency)>>;

/// Reports the tickets of commits, in their order.
///
/// Each report wakes a thread, so that of a source without awaited entries waits for a later commit, unless no source has any.
pub(super) struct Reporter {
    on_stable: Box<dyn Fn(usize, u64) + Send>,
    /// Tickets of stable entries that no acknowledgement waits for, and that were not reported yet: the highest of each source.
    unreported: Vec<Option<u64>>,
    /// The number of commits since all tickets were reported.
    commits: u32,
}

impl Reporter {
    pub(super) fn new(on_stable: Box<dyn Fn(usize, u64) + Send>) -> Self {
        Self { on_stable, unreported: Vec::new(), commits: 0 }
    }

    /// Reports the tickets of a commit.
    pub(super) fn report(&mut self, tickets: &[Option<(u64, Urgency)>]) {
        if tickets.is_empty() {
            return;
        }
        let Self { on_stable, unreported, commits } = self;
        unreported.resize(unreported.len().max(tickets.len()), None);
        let mut has_awaited = false;
        for (source, (ticket, unreported)) in tickets.iter().zip(unreported).enumerate() {
            match *ticket {
                Some((ticket, Urgency::Awaited)) => {
                    has_awaited = true;
                    *unreported = None;
                    on_stable(source, ticket);
                }
                Some((ticket, Urgency::Unawaited)) => *unreported = Some(ticket),
                None => {}
            }
        }
        *commits += 1;
        if !has_awaited || *commits == UNREPORTED_COMMITS_MAX {
            self.report_rest();
        }
    }

    /// Reports what waits for a later commit.
    pub(super) fn report_rest(&mut self) {
        self.commits = 0;
        for (source, unreported) in self.unreported.iter_mut().enumerate() {
            if let Some(ticket) = unreported.take() {
                (self.on_stable)(source, ticket);
            }
        }
    }
}

/// The number of commits after which all tickets are reported. A Session that moves, or a connection that closes, may wait
/// for any ticket of its shard.
const UNREPORTED_COMMITS_MAX: u32 = 8;
