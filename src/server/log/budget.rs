use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cut::cut;
use super::event::LogEvent;
use super::log_line;
use crate::broker::ClientLabel;
use crate::timestamp::Timestamp;

/// Lines per second and event that clients can cause: refusals, denials, drops. All shards and listeners together; 100 lines per second
/// are about a gigabyte of log per day.
const LINES_PER_SECOND_MAX: u64 = 100;
/// The same for connects and disconnects: so many that a fleet of ten thousand which reconnects within ten seconds is all in the log.
const CONNECTIONS_PER_SECOND_MAX: u64 = 1_000;
/// The names that are counted while lines of an event are suppressed. Their memory is bounded by the length of a cut name.
const NAMES_MAX: usize = 32;
/// The names in the summary.
const NAMES_SHOWN: usize = 3;

/// Who caused a line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Whom<'a> {
    pub(crate) client_id: Option<&'a str>,
    pub(crate) address: Option<IpAddr>,
}

impl<'a> From<&'a ClientLabel> for Whom<'a> {
    fn from(label: &'a ClientLabel) -> Self {
        let client_id = label.client_id.as_ref().map(|client_id| client_id.as_str());
        Self { client_id, address: label.address.map(|address| address.ip()) }
    }
}

/// Standard error is one for the process, and so are the budgets: one for each event.
static BUDGETS: [Mutex<Budget>; LogEvent::ALL.len()] =
    [const { Mutex::new(Budget::new(LINES_PER_SECOND_MAX)) }; LogEvent::ALL.len()];
/// The budgets of connects and disconnects.
static CONNECTS: Mutex<Budget> = Mutex::new(Budget::new(CONNECTIONS_PER_SECOND_MAX));
static DISCONNECTS: Mutex<Budget> = Mutex::new(Budget::new(CONNECTIONS_PER_SECOND_MAX));

fn budget_of(event: LogEvent) -> Option<&'static Mutex<Budget>> {
    if event == LogEvent::ClientConnected {
        return Some(&CONNECTS);
    }
    if event == LogEvent::ClientDisconnected { Some(&DISCONNECTS) } else { BUDGETS.get(event.index()) }
}

/// Whether one more line about `event` may be written. If not, it is counted, and [`summarize`] says how many were left out and for whom.
pub(crate) fn allows(event: LogEvent, whom: Whom<'_>, now: Timestamp) -> bool {
    let Some(budget) = budget_of(event) else { return true };
    let (allowed, summary) = budget.lock().unwrap_or_else(PoisonError::into_inner).take(whom, now);
    if let Some(summary) = summary {
        summary.log(event);
    }
    allowed
}

/// Writes a line for each event of which lines were suppressed until a second ago. To be called once a second, and at the end.
pub(in crate::server) fn summarize(now: Timestamp) {
    for event in LogEvent::ALL {
        let Some(budget) = budget_of(event) else { continue };
        let summary = budget.lock().unwrap_or_else(PoisonError::into_inner).renew(now);
        if let Some(summary) = summary {
            summary.log(event);
        }
    }
}

/// The lines about one event in one second.
#[derive(Debug)]
struct Budget {
    /// Lines per second that are written.
    max: u64,
    second: Timestamp,
    lines: u64,
    clients: Most<String>,
    addresses: Most<IpAddr>,
}

/// The lines of one second that were left out.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    lines: u64,
    clients: Option<String>,
    addresses: Option<String>,
}

impl Budget {
    const fn new(max: u64) -> Self {
        Self { max, second: Timestamp(0), lines: 0, clients: Most::new(), addresses: Most::new() }
    }

    /// Whether one more line may be written, and the summary of the second before, if it is the first of a second.
    fn take(&mut self, whom: Whom<'_>, now: Timestamp) -> (bool, Option<Summary>) {
        let summary = self.renew(now);
        if self.lines == 0 {
            self.second = now;
        }
        self.lines += 1;
        if self.lines <= self.max {
            return (true, summary);
        }
        if let Some(client_id) = whom.client_id {
            let name = cut(client_id);
            self.clients.count(&*name, |known| *known == *name);
        }
        if let Some(address) = whom.address {
            self.addresses.count(address, |known| *known == address);
        }
        (false, summary)
    }

    /// Begins a new second if the last one is over. Returns what was left out in it.
    fn renew(&mut self, now: Timestamp) -> Option<Summary> {
        if self.lines == 0 || now.since(self.second) < Duration::from_secs(1) {
            return None;
        }
        let lines = self.lines.saturating_sub(self.max);
        self.lines = 0;
        let clients = self.clients.take(|name| format!("{name:?}"));
        let addresses = self.addresses.take(|address| address.to_string());
        (lines > 0).then_some(Summary { lines, clients, addresses })
    }
}

impl Summary {
    fn log(&self, event: LogEvent) {
        let Self { lines, clients, addresses } = self;
        let mut most = String::new();
        for (kind, names) in [("clients", clients), ("addresses", addresses)] {
            if let Some(names) = names {
                // A String takes any text.
                let _ = write!(most, "; {kind} with the most: {names}");
            }
        }
        let name = event.name();
        log_line!(
            LinesSuppressed {
                suppressed = name,
                lines,
                clients = clients.as_deref(),
                addresses = addresses.as_deref(),
            },
            "suppressed {lines} log lines of the kind {name}{most}"
        );
    }
}

/// The names with the most lines, by the Space-Saving algorithm: a new name replaces the one with the fewest lines, and inherits its count
/// as its possible error. A name with more than 1/[`NAMES_MAX`] of all lines is always among them.
#[derive(Debug)]
struct Most<T>(Vec<Counted<T>>);

#[derive(Debug)]
struct Counted<T> {
    name: T,
    lines: u64,
    error: u64,
}

impl<T> Most<T> {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn count(&mut self, name: impl Into<T>, is_it: impl Fn(&T) -> bool) {
        if let Some(known) = self.0.iter_mut().find(|counted| is_it(&counted.name)) {
            known.lines += 1;
        } else if self.0.len() < NAMES_MAX {
            self.0.push(Counted { name: name.into(), lines: 1, error: 0 });
        } else if let Some(fewest) = self.0.iter_mut().min_by_key(|counted| counted.lines) {
            *fewest = Counted { name: name.into(), lines: fewest.lines + 1, error: fewest.lines };
        }
    }

    /// The [`NAMES_SHOWN`] names with the most lines that are certain, with these lines; forgets all.
    fn take(&mut self, show: impl Fn(&T) -> String) -> Option<String> {
        let mut counted = std::mem::take(&mut self.0);
        counted.sort_by_key(|counted| std::cmp::Reverse(counted.lines - counted.error));
        let shown = counted.iter().take(NAMES_SHOWN).map(|Counted { name, lines, error }| match error {
            0 => format!("{} ({lines})", show(name)),
            error => format!("{} (at least {})", show(name), lines - error),
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        (!shown.is_empty()).then_some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whom(client_id: &str, last: u8) -> Whom<'_> {
        Whom { client_id: Some(client_id), address: Some([10, 0, 0, last].into()) }
    }

    #[test]
    fn the_budget_is_renewed_every_second_and_the_summary_names_who_had_the_most() {
        let mut budget = Budget::new(LINES_PER_SECOND_MAX);
        let mut allowed = 0;
        for number in 0..1_000 {
            let name = if number % 2 == 0 { "noisy".to_owned() } else { format!("client {number}") };
            let (allows, summary) = budget.take(whom(&name, u8::from(number % 10 == 0)), Timestamp(5_000));
            assert_eq!(summary, None);
            allowed += u64::from(allows);
        }
        assert_eq!(allowed, LINES_PER_SECOND_MAX);
        assert_eq!(budget.renew(Timestamp(5_999)), None);
        let (allows, summary) = budget.take(whom("later", 9), Timestamp(6_000));
        let summary = summary.unwrap();
        assert!(allows);
        assert_eq!(summary.lines, 900);
        assert!(summary.clients.as_ref().unwrap().starts_with("\"noisy\" (450), "), "{summary:?}");
        assert_eq!(summary.addresses.unwrap(), "10.0.0.0 (810), 10.0.0.1 (90)");
    }

    #[test]
    fn the_summary_follows_although_no_line_does() {
        let mut budget = Budget::new(LINES_PER_SECOND_MAX);
        for _ in 0..150 {
            budget.take(Whom::default(), Timestamp(1_000));
        }
        assert_eq!(budget.renew(Timestamp(2_000)), Some(Summary { lines: 50, clients: None, addresses: None }));
        assert_eq!(budget.renew(Timestamp(3_000)), None);
    }

    #[test]
    fn a_second_without_suppressed_lines_has_no_summary() {
        let mut budget = Budget::new(LINES_PER_SECOND_MAX);
        budget.take(whom("a", 1), Timestamp(1_000));
        assert_eq!(budget.renew(Timestamp(9_000)), None);
    }

    #[test]
    fn the_number_of_names_is_bounded_and_a_frequent_one_is_kept() {
        let mut most = Most::<String>::new();
        for number in 0..10_000 {
            let name = if number % 8 == 0 { "frequent".to_owned() } else { number.to_string() };
            most.count(name.clone(), |known| *known == name);
            assert!(most.0.len() <= NAMES_MAX);
        }
        let shown = most.take(String::clone).unwrap();
        let (name, count) = shown.split(", ").next().unwrap().split_once(" (").unwrap();
        assert_eq!(name, "frequent");
        assert_eq!(count, "1250)");
    }

    #[test]
    fn connects_and_disconnects_have_a_larger_budget() {
        let now = Timestamp(2_000_000);
        for event in [LogEvent::ClientConnected, LogEvent::ClientDisconnected] {
            assert_eq!((0..2_000).filter(|_| allows(event, Whom::default(), now)).count(), 1_000, "{event:?}");
        }
    }

    #[test]
    fn each_event_has_its_own_budget() {
        let now = Timestamp(1_000_000);
        while allows(LogEvent::AcceptFailed, Whom::default(), now) {}
        assert!(allows(LogEvent::ConnectionClosed, Whom::default(), now));
    }
}
