//! Reads comma-separated values with a header line.

use std::collections::BTreeMap;

/// A line below the header.
#[derive(Debug)]
pub struct Record(BTreeMap<String, String>);

impl Record {
    /// The field of a column, empty if there is none.
    pub fn get(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }
}

/// All records of a file.
pub fn read(text: &str) -> Vec<Record> {
    let mut lines = split(text).into_iter();
    let header = lines.next().unwrap_or_default();
    lines.map(|fields| Record(header.iter().cloned().zip(fields).collect())).collect()
}

fn split(text: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quoted) {
            ('"', true) if characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            ('"', _) => quoted = !quoted,
            (',', false) => line.push(std::mem::take(&mut field)),
            ('\r', false) => {}
            ('\n', false) => {
                line.push(std::mem::take(&mut field));
                lines.push(std::mem::take(&mut line));
            }
            (other, _) => field.push(other),
        }
    }
    if !field.is_empty() || !line.is_empty() {
        line.push(field);
        lines.push(line);
    }
    lines.retain(|line| line.iter().any(|field| !field.is_empty()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas_quotes_and_line_ends() {
        let records = read("a,b\r\n1,\"x, \"\"y\"\"\nz\"\n\n2,\n");
        let fields: Vec<_> = records.iter().map(|record| (record.get("a"), record.get("b"))).collect();
        assert_eq!(fields, [("1", "x, \"y\"\nz"), ("2", "")]);
    }
}
