use std::fmt::Write as _;
use std::time::Duration;

use crate::routing::CellId;

/// How long the server of a cell has accepted no clients, because it does not know yet what all other cells want; and what is logged about that.
#[derive(Debug, Default)]
pub(in crate::server) struct Joining {
    /// When the wait began, by the clock of the server.
    since: Option<Duration>,
    /// When it was said last.
    said: Option<Duration>,
}

impl Joining {
    /// It waits still. Returns whether a line is due, which is one of trouble, and its text. `lacking`: the cells that it waits for.
    pub(super) fn look(&mut self, now: Duration, lacking: impl FnOnce() -> Vec<CellId>) -> Option<(bool, String)> {
        let since = *self.since.get_or_insert(now);
        let due = self.said.map_or(since + PATIENCE, |said| said + REPEAT);
        if now < due {
            return None;
        }
        self.said = Some(now);
        let (seconds, names) = (now.saturating_sub(since).as_secs(), names(&lacking()));
        Some((true, format!("no clients are accepted since {seconds} s: the filters of {names} are not known yet")))
    }

    /// The wait is over. Returns the line that is due if it was long.
    pub(super) fn joined(&self, now: Duration) -> Option<(bool, String)> {
        let (since, _) = self.since.zip(self.said)?;
        let seconds = now.saturating_sub(since).as_secs();
        Some((false, format!("clients are accepted, after {seconds} s: the filters of all cells are known")))
    }
}

/// These cells, of which at most [`NAMES_MAX`] are named.
fn names(cells: &[CellId]) -> String {
    let mut names = if cells.len() == 1 { "cell".to_owned() } else { "cells".to_owned() };
    for (place, CellId(cell)) in cells.iter().take(NAMES_MAX).enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _into_a_string = write!(names, "{comma} {cell}");
    }
    match cells.len().checked_sub(NAMES_MAX) {
        None | Some(0) => names,
        Some(more) => format!("{names} and {more} more"),
    }
}

/// A cell knows the others within a second if they have owners.
const PATIENCE: Duration = Duration::from_secs(10);
const REPEAT: Duration = Duration::from_secs(60);
const NAMES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_waits_says_for_whom_after_a_while_and_each_minute_until_it_is_over() {
        let cells = |cells: &[u8]| cells.iter().copied().map(CellId).collect::<Vec<_>>();
        let mut joining = Joining::default();
        let mut lines = Vec::new();
        // A clock that has run for an hour.
        let at = |tenths: u64| Duration::from_secs(3_600) + Duration::from_millis(100 * tenths);
        for tenths in 0..1_350 {
            let lacking = if tenths < 700 { cells(&[0, 4]) } else { cells(&[4]) };
            lines.extend(joining.look(at(tenths), || lacking).map(|line| (tenths, line)));
        }
        let line = |seconds: u64, names: &str| {
            (true, format!("no clients are accepted since {seconds} s: the filters of {names} are not known yet"))
        };
        assert_eq!(lines, [(100, line(10, "cells 0, 4")), (700, line(70, "cell 4")), (1_300, line(130, "cell 4"))]);
        let over = "clients are accepted, after 135 s: the filters of all cells are known".to_owned();
        assert_eq!(joining.joined(at(1_350)), Some((false, over)));
    }

    #[test]
    fn a_short_wait_is_not_worth_a_line() {
        let mut joining = Joining::default();
        assert_eq!(joining.joined(Duration::ZERO), None);
        assert_eq!(joining.look(Duration::ZERO, || unreachable!("nothing is due")), None);
        assert_eq!(joining.look(PATIENCE - Duration::from_millis(1), Vec::new), None);
        assert_eq!(joining.joined(PATIENCE), None);
    }

    #[test]
    fn not_all_of_many_cells_are_named() {
        let of = |count: u8| names(&(0..count).map(CellId).collect::<Vec<_>>());
        let sixteen = "cells 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15";
        assert_eq!((of(16), of(18)), (sixteen.to_owned(), format!("{sixteen} and 2 more")));
    }
}
