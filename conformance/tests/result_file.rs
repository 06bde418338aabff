//! Runs the program and checks its result file against the JSON Schema, and the table made of it.

#![cfg(test)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::{fs, thread};

use conformance::report::{ResultFile, Verdict};
use serde_json::Value;

/// The cases that this server passes and fails, and one that doesn't apply to it.
const PASSED: &str = "a_packet_type_that_does_not_exist_closes_the_connection";
const FAILED: &str = "each_pingreq_is_answered_with_pingresp";
const SKIPPED: &str = "a_new_subscriber_gets_the_last_retained_message_with_retain_1";

/// A 5.0 server without retained messages that answers PINGREQ and closes the connection on anything that follows.
fn server() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut head = [0; 2];
    // All packets here are short enough for a one-byte Remaining Length.
    while stream.read_exact(&mut head).is_ok() {
        let mut body = vec![0; usize::from(head[1])];
        let version = if stream.read_exact(&mut body).is_ok() { body.get(6).copied() } else { return };
        let answer: &[u8] = match (head[0], version) {
            // CONNACK with Retain Available 0.
            (0x10, Some(5)) => &[0x20, 5, 0, 0, 2, 0x25, 0],
            (0xC0, _) => &[0xD0, 0],
            _ => return,
        };
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

fn conformance(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).output().unwrap()
}

/// Writes the result file of a run with a pass, a failure and skips, and returns it.
fn result_file(file: &Path) -> Value {
    let file = file.to_str().unwrap();
    let (address, cases) = (server(), [PASSED, FAILED, SKIPPED]);
    let mut arguments = vec![address.as_str(), "--report", file, "--broker-name", "a|b", "--broker-version", "7"];
    arguments.extend(cases.iter().flat_map(|case| ["--case", case]));
    let output = conformance(&arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_result_file_has_the_documented_form_and_makes_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("result.json");
    let written = result_file(&file);
    let schema: Value = serde_json::from_str(include_str!("../schema/result-1.json")).unwrap();
    assert_eq!(violations(&schema, &schema, &written, "$"), Vec::<String>::new());

    let read = ResultFile::read(&file).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Skip] {
        assert!(read.cases.iter().any(|case| case.result == verdict), "no case has the result {verdict:?}");
    }
    let table = conformance(&["table", file.to_str().unwrap()]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(table.status.success() && text.contains("| a\\|b 7 | 5.0 | 1 | 1 | 0 | 1 | 0 | 1 |"), "{text}");
    assert!(text.contains(&format!("| `{FAILED}` |")), "{text}");
}

#[test]
fn the_check_against_the_schema_finds_each_kind_of_deviation() {
    let directory = tempfile::tempdir().unwrap();
    let written = result_file(&directory.path().join("result.json"));
    let schema: Value = serde_json::from_str(include_str!("../schema/result-1.json")).unwrap();
    let deviations: [(&str, Value); 5] = [
        ("/cases/0/result", "good".into()),
        ("/cases/0/trace", Value::Null),
        ("/format_version", 2.into()),
        ("/started", (-1).into()),
        ("/versions", serde_json::json!({"4.0": {}})),
    ];
    for (place, value) in deviations {
        let mut altered = written.clone();
        *altered.pointer_mut(place).unwrap() = value;
        assert_eq!(violations(&schema, &schema, &altered, "$").len(), 1, "{place}");
    }
    let mut shorter = written;
    shorter.as_object_mut().unwrap().remove("broker");
    assert_eq!(violations(&schema, &schema, &shorter, "$"), ["$ has no broker"]);
}

#[test]
fn a_file_of_another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("other.json");
    fs::write(&file, "{\"format\": \"other\", \"format_version\": 1}").unwrap();
    let output = conformance(&["table", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the format is other"), "{output:?}");
}

/// Where `value` deviates from `schema`. It knows the keywords that the schema uses; others are a deviation.
fn violations(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" => {}
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                found.extend(violations(root, target, value, place));
            }
            "const" if rule != value => found.push(format!("{place} is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => found.push(format!("{place} is none of {rule}")),
            "type" if !types(rule).iter().any(|name| is(value, name)) => found.push(format!("{place} is no {rule}")),
            "minimum" if value.as_f64() < rule.as_f64() => found.push(format!("{place} is below {rule}")),
            "const" | "enum" | "type" | "minimum" => {}
            "required" => {
                let missing =
                    rule.as_array().unwrap().iter().filter(|name| value.get(name.as_str().unwrap()).is_none());
                found.extend(missing.map(|name| format!("{place} has no {}", name.as_str().unwrap())));
            }
            "properties" => {
                for (name, inner) in rule.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        found.extend(violations(root, inner, field, &format!("{place}.{name}")));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let unknown = value.as_object().into_iter().flatten().filter(|(name, _)| !known.contains_key(*name));
                found.extend(unknown.map(|(name, _)| format!("{place} has the unknown {name}")));
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(violations(root, rule, item, &format!("{place}[{number}]")));
                }
            }
            other => found.push(format!("the schema has the keyword {other}, which this check doesn't know")),
        }
    }
    found
}

fn types(rule: &Value) -> Vec<&str> {
    rule.as_str().map_or_else(|| rule.as_array().unwrap().iter().filter_map(Value::as_str).collect(), |name| vec![name])
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        _ => false,
    }
}
