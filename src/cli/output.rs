//! What commands write to standard output: tables for people, JSON for programs.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde_json::{Map, Value};

use super::api::{Api, Parameter};
use super::error::CliError;
use super::table::{Column, Table};
use super::terminal;
use super::value::{json, printable, text};

/// The form of the output.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Form {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// A list of the API.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<'a> {
    pub(super) path: &'a str,
    /// The field of the answer with the entries.
    pub(super) key: &'a str,
    pub(super) columns: &'a [Column],
    pub(super) paging: Paging,
}

/// How a list is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paging {
    /// Into pages, which are written as they arrive.
    Forward,
    /// Into pages, the newest first, each with the newest entry last. The broker keeps a bounded number of entries.
    Backward,
    /// It has one page, and no parameters for others.
    Single,
}

impl Form {
    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Writes all entries of a list: a table, or a JSON array with an entry in each line. Returns the rest of the last answer.
    pub(super) fn list(self, api: &Api, list: List<'_>, parameters: &[Parameter<'_>]) -> Result<Value, CliError> {
        let mut output = standard_output();
        let mut table = Table::new(list.columns, terminal::size().map(|(columns, _)| columns));
        let mut separator = "[\n";
        let mut write = |entries: &[Value]| {
            if self.json {
                for entry in entries {
                    write!(output, "{separator}{}", json(entry))?;
                    separator = ",\n";
                }
            } else {
                table.write(entries, &mut output)?;
            }
            output.flush()
        };
        let last = match list.paging {
            Paging::Forward => api.pages(list.path, list.key, parameters, &mut |entries| Ok(write(&entries)?))?,
            Paging::Backward => {
                let mut pages = Vec::new();
                let last = api.pages(list.path, list.key, parameters, &mut |entries| {
                    pages.push(entries);
                    Ok(())
                })?;
                write(&pages.into_iter().rev().flatten().collect::<Vec<_>>())?;
                last
            }
            Paging::Single => {
                let (entries, answer) = api.single(list.path, list.key, parameters)?;
                write(&entries)?;
                answer
            }
        };
        if self.json {
            let end = if separator == "[\n" { "[]" } else { "\n]" };
            writeln!(output, "{end}")?;
        } else {
            table.finish(&mut output)?;
        }
        output.flush()?;
        Ok(last)
    }

    /// Writes the fields of an object, those of `first` first.
    pub(super) fn object(self, object: &Value, first: &[&str]) -> Result<(), CliError> {
        let mut output = standard_output();
        if self.json {
            writeln!(output, "{}", json(object))?;
        } else {
            let mut fields = Vec::new();
            collect("", object, &mut fields);
            let rank = |name: &str| first.iter().position(|first| *first == name).unwrap_or(first.len());
            fields.sort_by_key(|(name, _)| rank(name));
            let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            for (name, value) in fields {
                writeln!(output, "{name:<width$}  {value}")?;
            }
        }
        Ok(output.flush()?)
    }

    /// Writes a sentence, or an object.
    pub(super) fn done(self, sentence: &str, object: &Value) -> Result<(), CliError> {
        let mut output = standard_output();
        writeln!(output, "{}", if self.json { json(object) } else { printable(sentence) })?;
        Ok(output.flush()?)
    }
}

/// Writes a line for people.
pub(super) fn line(text: &str) -> Result<(), CliError> {
    let mut output = standard_output();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

/// Standard output, until the value is dropped.
pub(super) fn standard_output() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// The fields of an object with the names of those that contain them, such as `sent.bytes`.
fn collect(prefix: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let name = |key: &str| printable(&if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") });
    match value {
        Value::Object(object) if !object.is_empty() => collect_object(object, &name, fields),
        Value::Array(entries) if entries.iter().any(|entry| entry.is_object() || entry.is_array()) => {
            for (index, entry) in entries.iter().enumerate() {
                collect(&name(&index.to_string()), entry, fields);
            }
        }
        Value::Array(entries) => {
            let texts: Vec<String> = entries.iter().map(|entry| text(entry, "")).collect();
            fields.push((
                prefix.to_owned(),
                if texts.is_empty() { "-".to_owned() } else { printable(&texts.join("; ")) },
            ));
        }
        Value::Object(_) => fields.push((prefix.to_owned(), "-".to_owned())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            fields.push((prefix.to_owned(), printable(&text(value, ""))));
        }
    }
}

fn collect_object(object: &Map<String, Value>, name: &dyn Fn(&str) -> String, fields: &mut Vec<(String, String)>) {
    for (key, value) in object {
        collect(&name(key), value, fields);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_fields_have_the_names_of_their_objects() {
        let mut fields = Vec::new();
        let object =
            json!({ "a": { "b": 1, "c": [] }, "d": ["x", "y"], "e": {}, "f": [{ "g": null }], "h\u{1B}": "\u{9B}" });
        collect("", &object, &mut fields);
        let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(lines, ["a.b=1", "a.c=-", "d=x; y", "e=-", "f.0.g=-", "h\\u{1b}=\\u{9b}"]);
    }
}
