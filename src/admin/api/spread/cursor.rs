use std::fmt;
use std::str::FromStr;

use crate::admin::api::failure::Failure;

/// Where the next page of a list of all cells begins: in this cell, at its cursor, or at its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CellCursor {
    pub(super) cell: u16,
    pub(super) of_cell: Option<String>,
}

impl FromStr for CellCursor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (cell, of_cell) = match text.split_once(SEPARATOR) {
            Some((cell, of_cell)) => (cell, Some(of_cell.to_owned())),
            None => (text, None),
        };
        let cell = cell.parse().map_err(|_| Failure::bad_request("the cursor is invalid"))?;
        Ok(Self { cell, of_cell })
    }
}

impl fmt::Display for CellCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cell, of_cell } = self;
        match of_cell {
            Some(of_cell) => write!(formatter, "{cell}{SEPARATOR}{of_cell}"),
            None => write!(formatter, "{cell}"),
        }
    }
}

/// No cursor of a broker has it.
const SEPARATOR: char = '.';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_parses_back_and_others_are_refused() {
        for of_cell in [None, Some("3-7-YQ".to_owned()), Some(String::new())] {
            let cursor = CellCursor { cell: 255, of_cell };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", ".", ".1", "x", "1-2", "65536", "-1"] {
            assert!(text.parse::<CellCursor>().is_err(), "{text}");
        }
    }
}
