use std::io::{self, Write};

use serde_json::Value;

use super::value::printable;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) align: Align,
    /// The cell of an entry; what it returns is escaped.
    pub(super) cell: fn(&Value) -> String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl Column {
    /// A column of texts.
    pub(super) const fn left(title: &'static str, cell: fn(&Value) -> String) -> Self {
        Self { title, align: Align::Left, cell }
    }

    /// A column of numbers.
    pub(super) const fn right(title: &'static str, cell: fn(&Value) -> String) -> Self {
        Self { title, align: Align::Right, cell }
    }
}

/// A table whose rows arrive in pages. The first page decides the widths; a later row may be wider.
#[derive(Debug)]
pub(super) struct Table<'a> {
    columns: &'a [Column],
    /// Columns of the terminal, at which lines are cut; `None`: they are not.
    width: Option<usize>,
    /// Empty until the first page.
    widths: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(super) const fn new(columns: &'a [Column], width: Option<usize>) -> Self {
        Self { columns, width, widths: Vec::new() }
    }

    /// Writes a page, and before the first one the titles. A page without entries is nothing: others may follow.
    pub(super) fn write(&mut self, entries: &[Value], output: &mut impl Write) -> io::Result<()> {
        if entries.is_empty() { Ok(()) } else { self.write_rows(entries, output) }
    }

    /// Writes the titles of a table without entries.
    pub(super) fn finish(&mut self, output: &mut impl Write) -> io::Result<()> {
        if self.widths.is_empty() { self.write_rows(&[], output) } else { Ok(()) }
    }

    fn write_rows(&mut self, entries: &[Value], output: &mut impl Write) -> io::Result<()> {
        let row = |entry: &Value| self.columns.iter().map(|column| printable(&(column.cell)(entry))).collect();
        let mut rows: Vec<Vec<String>> = entries.iter().map(row).collect();
        if self.widths.is_empty() {
            rows.insert(0, self.columns.iter().map(|column| column.title.to_owned()).collect());
            let widest =
                |index: usize| rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max();
            self.widths = (0..self.columns.len()).map(|index| widest(index).unwrap_or(0).min(CELL_MAX)).collect();
        }
        for row in rows {
            writeln!(output, "{}", self.line(&row))?;
        }
        Ok(())
    }

    fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(self.columns).zip(&self.widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            match column.align {
                Align::Left => line.push_str(&format!("{cell:<width$}")),
                Align::Right => line.push_str(&format!("{cell:>width$}")),
            }
        }
        cut(line.trim_end(), self.width)
    }
}

/// The line, cut to the width of the terminal.
pub(super) fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

/// A single long name does not move the other columns out of sight.
const CELL_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::value::text;

    const COLUMNS: [Column; 2] =
        [Column::left("NAME", |entry| text(entry, "/n")), Column::right("COUNT", |entry| text(entry, "/c"))];

    fn written(pages: &[&[Value]], width: Option<usize>) -> String {
        let mut table = Table::new(&COLUMNS, width);
        let mut output = Vec::new();
        for page in pages {
            table.write(page, &mut output).unwrap();
        }
        table.finish(&mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn the_first_page_decides_the_widths() {
        let first = [json!({ "n": "pump", "c": 7 }), json!({ "n": "sensor", "c": 1234567 })];
        let second = [json!({ "n": "a", "c": null })];
        assert_eq!(
            written(&[&first, &second], None),
            "NAME      COUNT\npump          7\nsensor  1234567\na             -\n"
        );
        assert_eq!(written(&[&[]], None), "NAME  COUNT\n");
        assert_eq!(written(&[&[], &second], None), "NAME  COUNT\na         -\n");
    }

    #[test]
    fn a_line_is_cut_at_the_width_of_the_terminal() {
        let page = [json!({ "n": "x".repeat(100), "c": 1 })];
        let text = written(&[&page], Some(20));
        assert!(text.lines().all(|line| line.chars().count() <= 20), "{text}");
        assert!(text.lines().nth(1).unwrap().ends_with('…'));
    }
}
