//! A cluster with six cells: three real nodes with three servers of NATS. Each node owns two cells, also after one was killed and has come back.

#![cfg(test)]

mod bridges;
#[path = "../fronts/client.rs"]
#[expect(dead_code, reason = "the test of fronts uses more of it")]
mod client;
mod clients;
mod deduplication;
#[path = "../clients/http_service.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod http_service;
mod messages;
mod nodes;
mod operators;
mod others;
mod shares;
mod split;

use std::fs;
use std::process::ExitStatus;

use nodes::{CELLS, Nodes};
use serde_json::Value;

#[test]
fn cells_spread_evenly_over_the_nodes_that_are_alive() {
    if nats_servers::is_missing() {
        return;
    }
    let mut nodes = Nodes::start(3);
    nodes.wait_for_shares(&[(0, 2), (1, 2), (2, 2)]);
    each_node_has_a_log_of_each_cell(&nodes);
    nodes_connect_to_each_other(&nodes);
    clients::sessions_are_found_from_each_node(&nodes);
    clients::each_node_answers_for_all(&nodes, &[0, 1, 2]);
    operators::a_ban_holds_at_all_nodes(&nodes);
    operators::what_happened_in_any_cell_is_there_at_each_node(&nodes);
    operators::a_trace_shows_all_cells(&nodes);
    operators::each_node_has_the_figures_of_all(&nodes, None);
    another_number_of_cells_is_refused_by_the_cluster(&mut nodes);
    let mut subscriber = deduplication::subscribed(&nodes, 1);
    deduplication::only_the_first_is_published(&nodes, &[0, 1, 2], (0..6, 6));
    deduplication::each_came_once(&nodes, &mut subscriber, 0..6);

    nodes.kill(1);
    nodes.wait_for_shares(&[(0, 3), (2, 3)]);
    deduplication::only_the_first_is_published(&nodes, &[0, 2], (0..9, 3));
    deduplication::each_came_once(&nodes, &mut subscriber, 6..9);
    clients::each_node_answers_for_all(&nodes, &[0, 2]);
    operators::each_node_has_the_figures_of_all(&nodes, Some(1));
    another_number_of_cells_is_refused_by_the_data_directory(&mut nodes);
    nodes.start_node(1, CELLS);
    operators::a_node_that_comes_back_learns_the_bans(&nodes, 1);
    nodes.wait_for_shares(&[(0, 2), (1, 2), (2, 2)]);

    an_operator_takes_a_node_out_of_service(&nodes);
    // A node that ends hands its cells over, so that nobody waits until it counts as dead.
    assert_eq!(nodes.terminate(2).code(), Some(0), "{}", nodes.log(2));
    let log = nodes.log(2);
    let end = log.rsplit_once("stopping: ").unwrap().1;
    assert_eq!(end.matches("handed over: ").count(), 2, "{end}");
    nodes.wait_for_shares(&[(0, 3), (1, 3)]);
}

#[test]
fn messages_between_cells_come_once_and_in_order_while_a_node_dies() {
    if nats_servers::is_missing() {
        return;
    }
    let mut nodes = Nodes::start(3);
    nodes.wait_for_shares(&[(0, 2), (1, 2), (2, 2)]);
    messages::a_subscription_is_soon_known_to_all_cells(&nodes);
    messages::a_retained_message_is_in_all_cells_when_it_is_acknowledged(&nodes, "before");
    messages::none_is_lost_doubled_or_overtaken(&mut nodes);
    messages::retained_messages_are_there(&nodes, "before");
    messages::a_retained_message_is_in_all_cells_when_it_is_acknowledged(&nodes, "after");
    messages::a_will_gets_to_another_cell(&nodes);
    bridges::bridges_and_sinks_go_on_at_another_node(&mut nodes);
}

/// `ONCEMQ_SPREAD_ROUNDS` is the number of nodes that die; by default there is nothing to do.
#[test]
#[expect(clippy::disallowed_methods, reason = "the length is chosen on the command line")]
fn bridges_between_cells_and_another_broker_lose_and_double_nothing_while_nodes_die() {
    let rounds = std::env::var("ONCEMQ_SPREAD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(0);
    if rounds > 0 && !nats_servers::is_missing() {
        bridges::none_is_lost_or_doubled_in(rounds);
    }
}

/// Node 1 is reached through NATS alone.
fn nodes_connect_to_each_other(nodes: &Nodes) {
    // Each has two links to each other node: one for its own clients, and one for those of that node.
    for (node, direct) in [(0, 3), (1, 2), (2, 3)] {
        let links = |tunnels: &Value| (tunnels["links"].as_u64(), tunnels["links_direct"].as_u64());
        nodes.wait(&format!("{direct} direct links of node {node}"), |nodes| {
            (links(&nodes.ask(node, "/cluster")["tunnels"]) == (Some(4), Some(direct))).then_some(())
        });
    }
}

fn each_node_has_a_log_of_each_cell(nodes: &Nodes) {
    for node in 0..3 {
        let data = nodes.data(node);
        assert_eq!(fs::read_to_string(data.join("cells/number")).unwrap(), "6\n");
        assert!(!data.join("log").exists(), "a log of no cell");
        for cell in 0..CELLS {
            let log = data.join(format!("cells/{cell}/log"));
            assert!(fs::read_dir(&log).unwrap().count() > 0, "{} is empty", log.display());
        }
    }
}

/// The node is new, and does not know better.
fn another_number_of_cells_is_refused_by_the_cluster(nodes: &mut Nodes) {
    for cells in [5, 1] {
        nodes.start_node(3, cells);
        let words = format!("the cluster was made with 6 cells, which can't be changed, and cluster.cells is {cells}");
        nodes.wait("a refusal", |nodes| nodes.log(3).contains(&words).then_some(()));
        assert_eq!(nodes.ask(3, "/cluster")["role"], "starting");
        nodes.kill(3);
        fs::remove_dir_all(nodes.data(3)).unwrap();
    }
}

fn another_number_of_cells_is_refused_by_the_data_directory(nodes: &mut Nodes) {
    for cells in [5, 1] {
        nodes.start_node(1, cells);
        assert_eq!(nodes.wait_for_end(1).code(), Some(2));
        let words = format!("has the logs of 6 cells, and cluster.cells is {cells}");
        assert!(nodes.log(1).contains(&words), "{}", nodes.log(1));
    }
}

fn an_operator_takes_a_node_out_of_service(nodes: &Nodes) {
    let is_done = |ended: ExitStatus| assert!(ended.success(), "{ended}");
    let planned = |question: &str| {
        let plan = nodes.ask(1, &format!("/cluster/plan?{question}"));
        let nodes = plan["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["then"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((planned("without=n0"), planned("with=n3")), (vec![0, 3, 3], vec![1, 2, 2, 1]));
    is_done(nodes.command(2, &["cluster", "plan", "--without", "n0", "--without", "n1", "--with", "n3"]));
    is_done(nodes.command(0, &["cluster", "drain"]));
    nodes.wait_for_shares(&[(0, 0), (1, 3), (2, 3)]);
    is_done(nodes.command(0, &["cluster", "drain", "--undo"]));
    nodes.wait_for_shares(&[(0, 2), (1, 2), (2, 2)]);
    let cell = nodes.owners(1).iter().position(|owner| owner.as_deref() == Some("n1")).unwrap();
    is_done(nodes.command(1, &["cluster", "move", "--cell", &cell.to_string(), "--to", "n0"]));
    // n0 owns two more than n1 now, so one goes back.
    nodes.wait_for_shares(&[(0, 2), (1, 2), (2, 2)]);
}
