//! The servers of a process with cells: the front, and one that serves a cell.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::*;
use crate::routing::CellId;
use crate::server::cells::Place;

/// A server in a thread of its own, and what reloads it.
fn start(config: &Config, start: Start) -> (JoinHandle<Result<Ended, ServerError>>, Reloader) {
    let (sender, started) = mpsc::channel();
    let config = config.clone();
    let thread = thread::spawn(move || {
        let server = Server::start_with(config, start).unwrap();
        sender.send(server.reloader()).unwrap();
        server.run()
    });
    (thread, started.recv().unwrap())
}

#[test]
fn a_front_reloads_and_ends_the_servers_of_its_cells() {
    let directory = tempfile::tempdir().unwrap();
    let passwords = directory.path().join("users");
    fs::write(&passwords, "").unwrap();
    let mut config = config(0);
    config.server.data = directory.path().join("data");
    config.security.password_file = Some(passwords.clone());
    let cells = Cells::new(2);
    let sink = (0..).map(|number| format!("s{number}")).find(|name| OwnClientKind::Sink.cell(name, 2) == CellId(1));
    let settings = "type = \"webhook\"\nfilters = [\"a\"]\nurl = \"http://localhost\"";
    config.sinks.push(toml::from_str(&format!("name = {:?}\n{settings}", sink.unwrap())).unwrap());
    let of_front = Start { standby: Some(Standby::new(None)), front_of: Some(Arc::clone(&cells)), ..Start::default() };
    let (front, reloader) = start(&config, of_front);
    let terms = CellTerms { cell: CellId(1), epoch: 3, secret: [7; 16], cells: Arc::clone(&cells), reloads: 0 };
    let of_cell = Start { cell: Some(terms), stopper: Some(Stopper::default()), ..Start::default() };
    let (cell, _) = start(&config, of_cell);
    let working = cells.work();
    run(async {
        let mut places = cells.watch();
        // There are no links, so it does not know what the other cell wants.
        places.wait_for(|places| matches!(places[1], Place::Joining(_))).await.unwrap();
        assert!(matches!(cells.place(CellId(0)), Place::Unknown));

        fs::write(&passwords, "no colon\n").unwrap();
        let report = reloader.reload().await.unwrap();
        let kept: Vec<&str> =
            report.parts.iter().filter(|part| part.error.is_some()).map(|part| part.name.as_str()).collect();
        assert_eq!(kept, ["access", "access of cell 1"]);
        assert!(
            cells.servers()[0].status.sinks().is_empty(),
            "a sink that publishes might miss subscribers of the other cell"
        );

        cells.end();
        places.wait_for(|places| matches!(places[1], Place::Unknown)).await.unwrap();
    });
    let ended = cell.join().unwrap().unwrap();
    assert!(matches!(ended, Ended::Told { why: Why::Moved { owner: None }, .. }), "{ended:?}");
    assert!(cells.servers().is_empty() && !front.is_finished(), "something is to be done still");
    drop(working);
    assert!(matches!(front.join().unwrap(), Ok(Ended::Stopped)));
}

#[test]
fn a_reload_while_the_server_of_a_cell_starts_is_not_missed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("oncemq.toml");
    fs::write(&file, "[mqtt]\nretain_available = false\n").unwrap();
    let mut config = config(0);
    config.server.data = directory.path().join("data");
    let mut arguments = Arguments::default();
    arguments.config = Some(file);
    for is_reloaded in [false, true] {
        let cells = Cells::new(2);
        let terms = CellTerms { cell: CellId(1), epoch: 3, secret: [7; 16], cells: Arc::clone(&cells), reloads: 0 };
        let of_cell = Start { cell: Some(terms), stopper: Some(Stopper::default()), ..Start::default() };
        let server = Server::start_with(config.clone(), of_cell).unwrap();
        let server = server.reloading(arguments.clone(), Loaded::of(config.clone()));
        if is_reloaded {
            cells.reloaded();
        }
        let reloader = server.reloader();
        let (working, cell) = (cells.work(), thread::spawn(|| server.run()));
        run(async {
            let mut places = cells.watch();
            places.wait_for(|places| matches!(places[1], Place::Joining(_))).await.unwrap();
            let retains = async || {
                reloader.request(Scope::Files(Vec::new())).await.unwrap();
                reloader.in_force().config.mqtt.retain_available
            };
            // What the server asks of itself may come behind the first request.
            while retains().await == is_reloaded {}
            cells.end();
        });
        drop(working);
        cell.join().unwrap().unwrap();
    }
}
