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

/// Bytes in the largest fitting unit.
pub(crate) fn size(bytes: f64) -> String {
    let mut rest = bytes;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if rest < 1_024.0 {
            break;
        }
        (rest, unit) = (rest / 1_024.0, next);
    }
    if unit == "B" { format!("{rest:.0} B") } else { format!("{rest:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_largest_fitting_unit() {
        let sizes = [0.0, 1_023.0, 1_024.0, 1_536.0, 5_242_880.0, 3e12].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "2.7 TiB"]);
    }
}
