use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

/// Columns and rows of the terminal that standard output is; `None`: it is none.
pub(super) fn size() -> Option<(usize, usize)> {
    let output = io::stdout();
    if !output.is_terminal() {
        return None;
    }
    let size = tcgetwinsize(&output).ok();
    // Some terminals don't know their size.
    let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    Some(size.filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or(DEFAULT_SIZE))
}

/// The size of a terminal that does not say it.
pub(super) const DEFAULT_SIZE: (usize, usize) = (80, 24);
