//! Commands with a token, over TCP.

use std::fs;

use serde_json::Value;
use wire::free_address;

use crate::messages::publish;
use crate::process::{Broker, run};

#[test]
fn a_token_has_the_rights_of_its_role() {
    let address = free_address().to_string();
    let broker = Broker::start(&["--admin", &address]);
    let data = broker.directory.path().join("data").display().to_string();
    let token = |role: &str| {
        let text = run(["token", "create", "--role", role, role, "--data", &data]).succeeded();
        let path = broker.directory.path().join(role);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (viewer, admin) = (token("viewer"), token("admin"));
    let with = |arguments: &[&str], token: &str| run([arguments, &["--admin", &address, "--token", token]].concat());
    publish(&broker, &["-t", "a", "-m", "x"]).succeeded();
    run(["status", "--admin", &address]).failed(1, "--token");
    let status: Value = serde_json::from_str(&with(&["status", "--json"], &viewer).succeeded()).unwrap();
    assert!(status["version"].is_string() && status["connections"].is_u64(), "{status}");
    assert!(with(&["status"], &viewer).succeeded().starts_with("version "));
    assert!(with(&["top"], &viewer).succeeded().starts_with("OnceMQ "));
    with(&["forget", "x"], &viewer).failed(1, "a higher role");
    with(&["forget", "x"], &admin).failed(1, "no session");
    let wrong = broker.directory.path().join("wrong");
    fs::write(&wrong, "oncemq-wrong").unwrap();
    with(&["status"], wrong.to_str().unwrap()).failed(1, "not valid");
}

#[test]
fn a_backup_is_made_by_the_running_broker() {
    let broker = Broker::start(&[]);
    publish(&broker, &["-t", "a", "-m", "x", "-r", "-q", "1"]).succeeded();
    let data = broker.directory.path().join("data").display().to_string();
    let text = run(["backup", "--data", &data]).succeeded();
    let stats = run(["store", "stats", text.trim()]).succeeded();
    assert!(stats.contains("retained messages  1"), "{stats}");
}
