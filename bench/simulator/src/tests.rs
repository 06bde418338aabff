//! Small runs: what is promised holds, and faults are found.

use clap::Parser;

use crate::Cli;
use crate::report::Report;
use crate::run::run;

fn simulate(arguments: &str) -> Report {
    let usual = [("--sessions", "300"), ("--seconds", "6")];
    let usual = usual.into_iter().filter(|(name, _)| !arguments.contains(name)).flat_map(|(name, value)| [name, value]);
    let words = ["simulator"].into_iter().chain(usual).chain(arguments.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap();
    run(cli.setup).unwrap()
}

#[test]
fn each_message_arrives_once_in_other_cells_of_other_nodes() {
    let report = simulate("--rate 200 --shares 5 --churn 50");
    assert_eq!(report.broken, [""; 0]);
    let figure = |name| report.figure(name);
    assert!(figure("published") > 1_100.0);
    assert_eq!((figure("delivered"), figure("acknowledged")), (figure("published"), figure("published")));
    assert!(figure("records_per_message") > 2.0 && figure("suback_p99_us") < 1e6, "{report}");
}

#[test]
fn each_message_arrives_once_while_nodes_die_and_their_clients_come_back() {
    let report = simulate("--seconds 40 --rate 50 --deaths 3 --back-after 8 --shares 5 --churn 20");
    assert_eq!(report.broken, [""; 0]);
    assert_eq!((report.figure("delivered"), report.figure("missing")), (report.figure("published"), 0.0));
    assert!(report.figure("adoption_max_us") > 3e6, "{report}");
}

#[test]
fn at_qos_1_messages_come_again_after_a_death_and_none_is_lost() {
    let report = simulate("--seconds 15 --qos 1 --rate 100 --deaths 1 --front owner");
    assert_eq!(report.broken, [""; 0]);
    assert_eq!(report.figure("missing"), 0.0);
}

/// Whether the ledger finds a fault, with one of some seeds.
fn finds(fault: &str, what: &str) -> bool {
    let run =
        |seed| simulate(&format!("--seconds 8 --rate 500 --deaths 3 --back-after 1 --fault {fault} --seed {seed}"));
    (1..=10).any(|seed| run(seed).broken.iter().any(|broken| broken.contains(what)))
}

#[test]
fn a_successor_that_drops_the_queue_of_a_link_is_found() {
    assert!(finds("drop-link-queue", "lost") || finds("drop-link-queue", "not delivered"));
}

#[test]
fn a_successor_that_forgets_what_came_from_other_cells_is_found() {
    assert!(finds("forget-received", "doubled"));
}

#[test]
fn a_run_is_the_same_for_the_same_seed() {
    let figures = |arguments| {
        let report = simulate(arguments);
        let of_process = ["wall_s", "rss_mib", "rss_bytes_per_session"];
        report.figures.into_iter().filter(|(name, _)| !of_process.contains(name)).collect::<Vec<_>>()
    };
    let arguments = "--sessions 200 --seconds 3 --rate 200 --deaths 1";
    assert_eq!(figures(arguments), figures(arguments));
    assert_ne!(figures(arguments), figures("--sessions 200 --seconds 3 --rate 200 --deaths 1 --seed 2"));
}

#[test]
fn one_broker_needs_no_servers() {
    let report = simulate("--nodes 1 --cells 1 --copies 0 --qos 0 --rate 0 --seconds 0.1 --publishers 150");
    assert_eq!(report.broken, [""; 0]);
    assert_eq!((report.figure("servers_cpu_us_per_message"), report.figure("records_per_message")), (0.0, 0.0));
}
