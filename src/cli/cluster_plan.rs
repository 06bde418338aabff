//! `cluster plan`: what would move in a cluster if nodes left or came.

use std::io::Write;

use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::output::{Form, standard_output};
use super::table::{Column, Table};
use super::target::TargetArguments;
use super::terminal;
use super::value::{printable, text};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq cluster plan                            who has which cell, and who would take it over
  oncemq cluster plan --without b                where the cells of node b go if it is drained, or dies
  oncemq cluster plan --without b --without c    the same for both at one time
  oncemq cluster plan --with d --json            which cells a new node d gets

NEXT is the node that takes over if the owner dies now: that with the furthest copy, and of equals the first by name. Copies go on, so that when it happens it
may be another one. With cells (cluster.cells), cells move then until the nodes own about the same number; each takes at least five seconds. A node that comes
counts as having copies of all cells.")]
pub(crate) struct Plan {
    /// A node that dies or is drained; can be given several times
    #[arg(long, value_name = "NODE")]
    without: Vec<String>,
    /// A node that comes, new or back; can be given several times
    #[arg(long, value_name = "NODE")]
    with: Vec<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

impl Plan {
    pub(super) fn run(self) -> Result<(), CliError> {
        let Self { without, with, form, target } = self;
        let joined = |nodes: &[String]| (!nodes.is_empty()).then(|| nodes.join(","));
        let (without, with) = (joined(&without), joined(&with));
        let parameters = [("without", without.as_deref()), ("with", with.as_deref())];
        let answer = Api::new(target)?.get("/cluster/plan", &parameters)?;
        if form.is_json() {
            return form.object(&answer, &[]);
        }
        let mut output = standard_output();
        write(&answer, terminal::size().map(|(columns, _)| columns), &mut output)?;
        Ok(output.flush()?)
    }
}

fn write(answer: &Value, width: Option<usize>, output: &mut impl Write) -> std::io::Result<()> {
    for (columns, key) in [(&NODES[..], "nodes"), (&CELLS, "cells"), (&MOVES, "moves")] {
        let entries = answer.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if key == "moves" && entries.is_empty() {
            writeln!(output, "nothing moves")?;
            continue;
        }
        let mut table = Table::new(columns, width);
        table.write(entries, output)?;
        table.finish(output)?;
        if key != "moves" {
            writeln!(output)?;
        }
    }
    let cells = answer.get("cells").and_then(Value::as_array);
    for cell in cells.into_iter().flatten().filter(|cell| cell.get("then").is_none_or(Value::is_null)) {
        writeln!(output, "! cell {}: no node can serve it, and nothing else moves", printable(&text(cell, "/cell")))?;
    }
    Ok(())
}

const NODES: [Column; 3] = [
    Column::left("NODE", |node| text(node, "/node")),
    Column::right("CELLS", |node| text(node, "/owned")),
    Column::right("THEN", |node| text(node, "/then")),
];

const CELLS: [Column; 4] = [
    Column::right("CELL", |cell| text(cell, "/cell")),
    Column::left("OWNER", |cell| text(cell, "/owner")),
    Column::left("NEXT", |cell| text(cell, "/next")),
    Column::left("THEN", |cell| text(cell, "/then")),
];

const MOVES: [Column; 4] = [
    Column::right("CELL", |step| text(step, "/cell")),
    Column::left("FROM", |step| text(step, "/from")),
    Column::left("TO", |step| text(step, "/to")),
    Column::left("BECAUSE", |step| match step.get("cause").and_then(Value::as_str) {
        Some("take-over") => "it has no owner".to_owned(),
        Some("balance") => "that node owns fewer cells".to_owned(),
        _ => text(step, "/cause"),
    }),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(answer: &Value) -> String {
        let mut output = Vec::new();
        write(answer, None, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn what_moves_is_a_table_and_nothing_is_a_sentence() {
        let mut answer = json!({
            "nodes": [{ "node": "a", "owned": 1, "then": 2 }, { "node": "b", "owned": 1, "then": 0 }],
            "cells": [{ "cell": 0, "owner": "a", "next": "b", "then": "a" }, { "cell": 1, "owner": "b", "next": "a", "then": "a" }],
            "moves": [{ "cell": 1, "from": "b", "to": "a", "cause": "take-over" }],
        });
        let text = shown(&answer);
        let line = |text: &str, words: &str| {
            text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words)
        };
        assert!(line(&text, "b 1 0") && line(&text, "1 b a a") && line(&text, "1 b a it has no owner"), "{text}");
        answer["moves"] = json!([]);
        answer["cells"][1]["then"] = Value::Null;
        let text = shown(&answer);
        assert!(
            line(&text, "nothing moves") && line(&text, "! cell 1: no node can serve it, and nothing else moves"),
            "{text}"
        );
    }
}
