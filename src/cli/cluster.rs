//! `cluster`: the nodes of a cluster, who serves the clients, and how that is changed.

use std::io::Write;
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::api::Api;
use super::cluster_plan::Plan;
use super::error::CliError;
use super::output::{Form, standard_output};
use super::table::{Column, Table};
use super::target::TargetArguments;
use super::terminal;
use super::value::{printable, text};
use crate::admin_client::percent_encoded;

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show the nodes: who serves the clients, how far the others follow, and what is wrong
    Status(ClusterStatus),
    /// Show what would move if nodes left or came, without changing anything
    Plan(Plan),
    /// Give the clients to another node; to be asked of the node that serves them
    Move(Move),
    /// Take a node out of service for work on it: it gives up the clients, and does not take over by itself until it is told so or starts again
    Drain(Drain),
    /// Forget a node that is gone for good: the others do not wait for it any more
    Forget(Forget),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq cluster status                 all nodes, as the node on this machine sees them
  oncemq cluster status --json | jq .owner.node

If the clients are spread over cells, a cell that this node serves has, too: CLIENTS, whether they can connect; LINKS, with how many of the other cells all
connections are open; WAITING, the messages for other cells that these have not confirmed. --json has each connection.")]
pub(crate) struct ClusterStatus {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq cluster move                   give the clients to the node that follows closest
  oncemq cluster move --to b            give them to node b
  oncemq cluster move --cell 3 --to b   give those of cell 3 to it, if the clients are spread over cells (cluster.cells)

All clients are disconnected with 0x9C Use another server and the address of that node.
The exit code is 1 if the other node does not serve them in time.")]
pub(crate) struct Move {
    /// The node that is to serve the clients
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// The cell whose clients they are, if there are several
    #[arg(long, value_name = "CELL")]
    cell: Option<u8>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq cluster drain                  before work on this machine
  oncemq cluster drain --undo           after it; a restart does the same")]
pub(crate) struct Drain {
    /// The node takes over again if it has to
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq cluster forget c               node c is gone, and its disk too

A node that is alive is not forgotten. One that comes back is known again.")]
pub(crate) struct Forget {
    /// The node that is gone
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Wait {
    /// How long to wait until the other node serves the clients; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u32,
}

pub(super) fn run(command: Cluster) -> Result<(), CliError> {
    match command {
        Cluster::Status(command) => status(command),
        Cluster::Plan(command) => command.run(),
        Cluster::Move(Move { to, cell, wait, form, target }) => {
            let api = Api::new(target)?;
            let number = cell.map(|cell| cell.to_string());
            let parameters = [("to", to.as_deref()), ("cell", number.as_deref())];
            let answer = api.send("POST", "/cluster/move", &parameters, None)?;
            finish(&api, (form, wait), &answer, (Successor::Named(cell.unwrap_or(0)), ""))
        }
        Cluster::Drain(Drain { undo, wait, form, target }) => {
            let api = Api::new(target)?;
            let (method, sentence) = match undo {
                true => ("DELETE", "the node takes over again if it has to"),
                false => ("POST", "the node does not take over by itself until it is told so or starts again"),
            };
            let answer = api.send(method, "/cluster/drain", &[], None)?;
            finish(&api, (form, wait), &answer, (Successor::Any, sentence))
        }
        Cluster::Forget(Forget { node, form, target }) => {
            let path = format!("/cluster/nodes/{}", percent_encoded(&node));
            let answer = Api::new(target)?.send("DELETE", &path, &[], None)?;
            form.done(&format!("node {node} is forgotten"), &answer)
        }
    }
}

fn status(ClusterStatus { form, target }: ClusterStatus) -> Result<(), CliError> {
    let answer = Api::new(target)?.get("/cluster", &[])?;
    if form.is_json() {
        return form.object(&answer, &[]);
    }
    let mut output = standard_output();
    for (title, of) in HEAD {
        if let Some(value) = of(&answer) {
            writeln!(output, "{title:<14}{}", printable(&value))?;
        }
    }
    writeln!(output)?;
    let mut table = Table::new(&NODES, terminal::size().map(|(columns, _)| columns));
    table.write(&nodes(&answer), &mut output)?;
    table.finish(&mut output)?;
    let cells = cells(&answer);
    if !cells.is_empty() {
        writeln!(output)?;
        let mut table = Table::new(&CELLS, terminal::size().map(|(columns, _)| columns));
        table.write(cells, &mut output)?;
        table.finish(&mut output)?;
    }
    for line in cells.iter().filter_map(link_line) {
        writeln!(output, "! {line}")?;
    }
    for cell in cells {
        for trouble in cell.get("troubles").and_then(Value::as_array).into_iter().flatten() {
            writeln!(output, "! cell {}: {}", text(cell, "/cell"), printable(&text(trouble, "")))?;
        }
    }
    let troubles = answer.get("troubles").and_then(Value::as_array);
    for trouble in troubles.into_iter().flatten() {
        writeln!(output, "! {}", printable(&text(trouble, "")))?;
    }
    Ok(output.flush()?)
}

/// What is to be said about the connections of a cell to others, if something is.
fn link_line(cell: &Value) -> Option<String> {
    let links = cell.get("links").and_then(Value::as_array)?;
    let is_up = |link: &&Value| ["out", "in", "control"].iter().all(|role| link.get(*role) == Some(&Value::Bool(true)));
    let down: Vec<String> = links.iter().filter(|link| !is_up(link)).map(|link| text(link, "/cell")).collect();
    if down.is_empty() {
        return None;
    }
    let shown = down.get(..NAMES_MAX).unwrap_or(&down).join(", ");
    let more = down.len().checked_sub(NAMES_MAX).filter(|more| *more > 0).map(|more| format!(" and {more} more"));
    Some(format!(
        "cell {}: not all connections are open to cells {shown}{}",
        text(cell, "/cell"),
        more.unwrap_or_default()
    ))
}

/// The cells over which the clients are spread, if they are.
fn cells(answer: &Value) -> &[Value] {
    answer.get("cells").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// This node and the others, in the order of their names.
fn nodes(answer: &Value) -> Vec<Value> {
    let own = json!({
        "node": answer.get("node"),
        "role": answer.get("role"),
        "advertise": answer.get("advertise"),
        "sequence": answer.get("sequence"),
        "state": if answer.get("drained") == Some(&Value::Bool(true)) { "drained" } else { "this node" },
    });
    let mut nodes = vec![own];
    let members = answer.get("members").and_then(Value::as_array);
    for member in members.into_iter().flatten() {
        let mut member = member.clone();
        let is = |key: &str| member.get(key) == Some(&Value::Bool(true));
        let state = match (is("alive"), is("able")) {
            (false, _) => "silent",
            (true, true) => "able",
            (true, false) => "not able",
        };
        if let Some(fields) = member.as_object_mut() {
            fields.insert("state".to_owned(), state.into());
        }
        nodes.push(member);
    }
    if !cells(answer).is_empty() {
        // Each cell has its own.
        nodes.iter_mut().filter_map(Value::as_object_mut).for_each(|node| drop(node.remove("sequence")));
    }
    nodes.sort_by_key(|node| text(node, "/node"));
    nodes
}

/// Which node serves the clients after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Successor {
    /// The one that the answer names, for this cell.
    Named(u8),
    /// Perhaps another one than the answer names: the others decide.
    Any,
}

impl Successor {
    /// The node that serves the clients, if the change is done. `to` is what the answer names.
    fn found(self, to: &str, cluster: &Value) -> Option<String> {
        let cells = cells(cluster);
        let owners: Vec<Option<&str>> = match (cells, self) {
            ([], _) => vec![cluster.pointer("/owner/node").and_then(Value::as_str)],
            (_, Self::Named(cell)) => vec![cells.get(usize::from(cell))?.get("owner").and_then(Value::as_str)],
            (_, Self::Any) => cells.iter().map(|cell| cell.get("owner").and_then(Value::as_str)).collect(),
        };
        let node = text(cluster, "/node");
        let is_done = |owner: &Option<&str>| match self {
            Self::Named(_) => *owner == Some(to),
            Self::Any => owner.is_some_and(|owner| owner != node),
        };
        let mut owners: Vec<&str> = owners.iter().all(is_done).then(|| owners.into_iter().flatten().collect())?;
        owners.sort_unstable();
        owners.dedup();
        Some(owners.join(", "))
    }
}

/// Waits until another node serves the clients, and says so.
fn finish(
    api: &Api,
    (form, Wait { wait }): (Form, Wait),
    answer: &Value,
    (successor, sentence): (Successor, &str),
) -> Result<(), CliError> {
    let Some(to) = answer.get("to").and_then(Value::as_str) else { return form.done(sentence, answer) };
    if wait == 0 {
        return form.done(&format!("node {to} is to serve the clients"), answer);
    }
    let polls = Duration::from_secs(wait.into()).as_millis() / POLL_INTERVAL.as_millis();
    for _ in 0..polls {
        // While the role of the node changes, its admin listener is closed for a moment.
        let cluster = api.get("/cluster", &[]).ok();
        if let Some(owner) = cluster.and_then(|cluster| successor.found(to, &cluster)) {
            return form.done(&format!("node {owner} serves the clients"), answer);
        }
        thread::sleep(POLL_INTERVAL);
    }
    Err(CliError::NotDone(format!("node {to} does not serve the clients after {wait} s: see oncemq cluster status")))
}

pub(super) const EXAMPLES: &str = "Examples:
  oncemq cluster status                 all nodes: who serves the clients, and how far the others follow
  oncemq cluster plan --without b       what would move if node b died or were drained
  oncemq cluster move --to b            give the clients to node b
  oncemq cluster drain                  before work on this machine
  oncemq cluster forget c               node c is gone for good";

/// A title, and the value; without one the line is left out.
type HeadLine = (&'static str, fn(&Value) -> Option<String>);

const HEAD: [HeadLine; 7] = [
    ("cluster", |answer| Some(text(answer, "/cluster"))),
    ("owner", |answer| match answer.pointer("/owner/node") {
        _ if !cells(answer).is_empty() => None,
        Some(Value::String(node)) => Some(format!("{node} ({})", text(answer, "/owner/advertise"))),
        _ => Some("none that this node knows of".to_owned()),
    }),
    ("epoch", |answer| cells(answer).is_empty().then(|| text(answer, "/epoch"))),
    // Only the owner knows what a majority has.
    ("replicated", |answer| {
        let is_owner = answer.get("role").is_some_and(|role| role == "owner");
        (is_owner && cells(answer).is_empty())
            .then(|| format!("{} of {}", text(answer, "/replicated"), text(answer, "/sequence")))
    }),
    ("stream", |answer| {
        let bytes = answer.get("tail_bytes").filter(|bytes| !bytes.is_null())?;
        let position = cells(answer).is_empty().then(|| format!(", position {}", text(answer, "/position")));
        Some(format!("{bytes} bytes{}", position.unwrap_or_default()))
    }),
    ("tunnels", |answer| {
        let tunnels = answer.get("tunnels").filter(|tunnels| !tunnels.is_null())?;
        let [open, links, sent, received] =
            ["/open", "/links", "/bytes_sent", "/bytes_received"].map(|path| text(tunnels, path));
        Some(format!("{open} through {links} links, {sent} bytes to other nodes, {received} from them"))
    }),
    ("last change", |answer| {
        let change = answer.get("last_failover").filter(|change| !change.is_null())?;
        let (at, node, epoch) = (text(change, "/at"), text(change, "/node"), text(change, "/epoch"));
        let (seconds, cause) = (text(change, "/seconds"), text(change, "/cause"));
        Some(format!("{at}: {node} in epoch {epoch}, after {seconds} s: {cause}"))
    }),
];

const CELLS: [Column; 11] = [
    Column::right("CELL", |cell| text(cell, "/cell")),
    Column::left("OWNER", |cell| match cell.get("owner") {
        Some(Value::String(node)) => node.clone(),
        _ => "-".to_owned(),
    }),
    Column::right("EPOCH", |cell| text(cell, "/epoch")),
    Column::left("HERE", |cell| text(cell, "/role")),
    Column::right("COPIES", |cell| text(cell, "/copies")),
    Column::right("SEQUENCE", |cell| text(cell, "/sequence")),
    Column::right("LAG", |cell| text(cell, "/lag")),
    Column::right("STREAM", |cell| text(cell, "/tail_bytes")),
    // Of those that this node serves.
    Column::left("CLIENTS", |cell| match cell.get("accepts_clients").and_then(Value::as_bool) {
        Some(true) => "accepted".to_owned(),
        Some(false) => "wait".to_owned(),
        None => "-".to_owned(),
    }),
    Column::right("LINKS", |cell| match (cell.get("links_up").and_then(Value::as_u64), cell.get("links")) {
        (Some(up), Some(Value::Array(links))) => format!("{up}/{}", links.len()),
        _ => "-".to_owned(),
    }),
    Column::right("WAITING", |cell| text(cell, "/waiting_messages")),
];

const NODES: [Column; 7] = [
    Column::left("NODE", |node| text(node, "/node")),
    Column::left("ROLE", |node| text(node, "/role")),
    Column::left("STATE", |node| text(node, "/state")),
    Column::right("SEQUENCE", |node| text(node, "/sequence")),
    Column::right("LAG", |node| text(node, "/lag")),
    Column::right("SILENT", |node| match node.get("silent_seconds").and_then(Value::as_f64) {
        Some(seconds) => format!("{seconds:.1} s"),
        None => "-".to_owned(),
    }),
    Column::left("ADDRESS", |node| text(node, "/advertise")),
];

/// Other cells that a line names.
const NAMES_MAX: usize = 8;
/// Between two requests for the state.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_are_in_one_table_with_what_they_can_do() {
        let answer = json!({
            "node": "b", "role": "owner", "sequence": 7, "drained": false,
            "members": [
                { "node": "c", "alive": true, "able": false },
                { "node": "a", "alive": true, "able": true },
                { "node": "d", "alive": false, "able": true },
            ],
        });
        let states: Vec<String> =
            nodes(&answer).iter().map(|node| format!("{} {}", text(node, "/node"), text(node, "/state"))).collect();
        assert_eq!(states, ["a able", "b this node", "c not able", "d silent"]);
    }

    #[test]
    fn a_cell_with_connections_that_are_not_open_has_a_line_that_stays_short() {
        let link = |cell: u8, is_open: bool| json!({ "cell": cell, "out": true, "in": is_open, "control": true });
        let cell = |down: std::ops::Range<u8>| {
            let links: Vec<Value> = (0..48).map(|cell| link(cell, !down.contains(&cell))).collect();
            json!({ "cell": 50, "links": links })
        };
        let line = |down| link_line(&cell(down));
        assert_eq!(line(0..0), None);
        let words = "cell 50: not all connections are open to cells";
        assert_eq!(line(7..9).unwrap(), format!("{words} 7, 8"));
        assert_eq!(line(0..8).unwrap(), format!("{words} 0, 1, 2, 3, 4, 5, 6, 7"));
        assert_eq!(line(0..48).unwrap(), format!("{words} 0, 1, 2, 3, 4, 5, 6, 7 and 40 more"));
    }

    #[test]
    fn a_standby_does_not_say_what_a_majority_has() {
        let line = |role: &str| {
            let answer = json!({ "role": role, "replicated": 0, "sequence": 7 });
            HEAD.iter().find(|(title, _)| *title == "replicated").and_then(|(_, value)| value(&answer))
        };
        assert_eq!((line("owner").as_deref(), line("standby")), (Some("0 of 7"), None));
    }

    #[test]
    fn a_drained_owner_may_be_followed_by_another_node_than_the_answer_named() {
        let owned_by = |owner: Value| json!({ "node": "b", "epoch": 3, "owner": owner });
        let found = |successor: Successor, owner: Value| successor.found("a", &owned_by(owner));
        let node = |name: &str| json!({ "node": name });
        assert_eq!(found(Successor::Named(0), node("c")), None);
        assert_eq!(found(Successor::Named(0), node("a")), Some("a".to_owned()));
        assert_eq!(found(Successor::Any, node("c")), Some("c".to_owned()));
        assert_eq!(found(Successor::Any, node("b")), None, "it serves still");
        assert_eq!(found(Successor::Any, Value::Null), None);
    }

    #[test]
    fn a_node_is_drained_when_it_owns_no_cell_and_each_has_an_owner() {
        let found = |successor: Successor, owners: [Option<&str>; 3]| {
            let cells: Vec<Value> = owners.map(|owner| json!({ "owner": owner })).to_vec();
            successor.found("a", &json!({ "node": "b", "owner": null, "cells": cells }))
        };
        assert_eq!(found(Successor::Any, [Some("a"), Some("c"), Some("a")]), Some("a, c".to_owned()));
        assert_eq!(found(Successor::Any, [Some("a"), Some("b"), Some("a")]), None);
        assert_eq!(found(Successor::Any, [Some("a"), None, Some("a")]), None);
        assert_eq!(found(Successor::Named(1), [Some("b"), Some("a"), None]), Some("a".to_owned()));
        assert_eq!(found(Successor::Named(2), [Some("b"), Some("a"), None]), None);
        assert_eq!(found(Successor::Named(3), [Some("a"); 3]), None);
    }
}
