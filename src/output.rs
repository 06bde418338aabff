//! Output of commands.

use std::io::{self, Write};

/// Writes a line to standard output. A closed pipe, such as that of `head`, is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line to standard error. If that is closed, the line can't be written.
pub(crate) fn eprint(text: &str) {
    let _written = io::stderr().write_all(format!("{text}\n").as_bytes());
}
