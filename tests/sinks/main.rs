//! `[[sinks]]` with the real binary: a receiver that is right, slow, wrong and gone, and a broker that is killed.

#![cfg(test)]

mod broker;
#[path = "../clients/certificates.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod certificates;
#[path = "../clients/deadline.rs"]
mod deadline;
mod failures;
#[path = "../clients/http_service.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod http_service;
mod order;
mod reloads;
mod requests;

use serde_json::Value;

use http_service::{Asked, HttpService};

/// A sink in TOML that may send requests to this machine.
fn sink(name: &str, url: &str, settings: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\ntype = \"webhook\"\nfilters = [\"alarms/#\"]\nurl = \"{url}\"\n\
         allow_private_addresses = true\nretry_min = \"50ms\"\nretry_max = \"200ms\"\n{settings}\n"
    )
}

/// The value of a header.
fn header(asked: &Asked, name: &str) -> Option<String> {
    let line = asked.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")))?;
    line.split_once(": ").map(|(_, value)| value.to_owned())
}

/// The payloads of all requests, in their order.
fn payloads(service: &HttpService) -> Vec<String> {
    let payload = |message: &Value| message["payload"].as_str().unwrap_or_default().to_owned();
    service.asked().iter().flat_map(|asked| messages(asked).iter().map(payload).collect::<Vec<_>>()).collect()
}

/// The messages in the body of a request.
fn messages(asked: &Asked) -> Vec<Value> {
    asked.body.as_array().cloned().unwrap_or_else(|| vec![asked.body.clone()])
}
