//! `oncemq doctor`: what it finds, and that it changes nothing.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use wire::free_address;

use crate::process::{Broker, Running, oncemq, run};

/// A directory with a configuration whose ports are free.
fn configured(more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (mqtt, admin) = (free_address(), free_address());
    let text = format!(
        "[server]\ndata = {:?}\n[[listeners]]\naddress = \"{mqtt}\"\n[admin]\naddress = \"{admin}\"\n{more}",
        directory.path().join("data")
    );
    fs::write(directory.path().join("oncemq.toml"), text).unwrap();
    directory
}

/// The findings and the exit code.
fn examined(mut command: Command, directory: &Path) -> (Value, i32) {
    command.args(["doctor", "--json", "--config"]).arg(directory.join("oncemq.toml"));
    let done = Running::start(command).end();
    let found = serde_json::from_str(&done.output).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    (found, done.code)
}

fn examine(directory: &TempDir) -> (Value, i32) {
    examined(oncemq(), directory.path())
}

/// The severity and the text of the findings about a subject.
fn about<'a>(found: &'a Value, subject: &str) -> Vec<(&'a str, &'a str)> {
    let findings = found["findings"].as_array().unwrap().iter().filter(|finding| finding["subject"] == subject);
    findings.map(|finding| (finding["severity"].as_str().unwrap(), finding["text"].as_str().unwrap())).collect()
}

#[track_caller]
fn assert_found(found: &Value, subject: &str, severity: &str, text: &str) {
    let findings = about(found, subject);
    assert!(findings.iter().any(|(is, says)| *is == severity && says.contains(text)), "{findings:?} in {found}");
}

#[test]
fn a_good_machine_has_no_errors_and_is_left_as_it_is() {
    let directory = configured("");
    let (found, code) = examine(&directory);
    assert_eq!((code, &found["errors"]), (0, &0.into()), "{found}");
    assert_found(&found, "data directory", "note", "does not exist");
    assert_found(&found, "running broker", "note", "no broker answers");
    for subject in ["listener", "ports", "sync", "file system", "disk space", "memory", "clock", "descriptors"] {
        assert!(!about(&found, subject).is_empty(), "{subject}: {found}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    for finding in found["findings"].as_array().unwrap() {
        let needs_mend = ["error", "warning"].contains(&finding["severity"].as_str().unwrap());
        assert!(!needs_mend || finding["mend"].is_string(), "{finding}");
    }
    let page = run(["doctor", "--config", directory.path().join("oncemq.toml").to_str().unwrap()]).succeeded();
    assert!(page.contains("errors: 0, ") && page.contains("note     data directory: "), "{page}");
}

#[test]
fn a_wrong_configuration_is_the_only_finding() {
    let directory = configured("nonsense = 1\n");
    let (found, code) = examine(&directory);
    assert_eq!((code, found["findings"].as_array().unwrap().len()), (1, 1), "{found}");
    assert_found(&found, "configuration", "error", "nonsense");
}

#[test]
fn a_running_broker_is_asked_and_holds_its_ports() {
    let broker = Broker::start(&[]);
    let text = format!(
        "[server]\ndata = {:?}\n[[listeners]]\naddress = \"{}\"\n[admin]\nenabled = false\n",
        broker.directory.path().join("data"),
        broker.mqtt
    );
    fs::write(broker.directory.path().join("oncemq.toml"), text).unwrap();
    let (found, code) = examined(oncemq(), broker.directory.path());
    assert_eq!(code, 0, "{found}");
    assert_found(&found, "running broker", "ok", "is ready");
    assert_found(&found, "ports", "ok", &format!("held by the running broker (process {})", broker.id()));
    assert_found(&found, "data directory", "ok", "with the mode 0700");
}

#[test]
fn a_port_of_another_process_is_an_error() {
    let directory = configured("");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let file = directory.path().join("oncemq.toml");
    let text = fs::read_to_string(&file).unwrap().replacen(
        "[admin]",
        &format!("[[listeners]]\naddress = \"{address}\"\n[admin]"),
        1,
    );
    fs::write(&file, text).unwrap();
    let (found, code) = examine(&directory);
    assert_eq!(code, 1);
    assert_found(&found, "ports", "error", &format!("{address} is held by "));
    assert_found(&found, "ports", "error", &format!("(process {})", std::process::id()));
}

#[test]
fn what_is_open_to_others_is_a_warning() {
    let directory = configured("");
    let file = directory.path().join("oncemq.toml");
    let text = fs::read_to_string(&file).unwrap().replacen(
        "[admin]",
        "[[listeners]]\naddress = \":0\"\nallow_anonymous = true\n[admin]",
        1,
    );
    fs::write(&file, text).unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    fs::set_permissions(directory.path().join("data"), Permissions::from_mode(0o755)).unwrap();
    let (found, code) = examine(&directory);
    assert_eq!(code, 0, "{found}");
    assert_found(&found, "listener", "note", "clients of every machine that reaches it connect without a password");
    assert_found(&found, "open to others", "warning", "from another machine can connect without a password");
    assert_found(&found, "open to others", "warning", "has the mode 0755");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_an_error() {
    let directory = configured("");
    fs::write(directory.path().join("data"), "").unwrap();
    let (found, code) = examine(&directory);
    assert_eq!(code, 1);
    assert_found(&found, "data directory", "error", "is no directory");
    let directory = configured("");
    let file = directory.path().join("oncemq.toml");
    let text = fs::read_to_string(&file).unwrap();
    let data = directory.path().join("data").display().to_string();
    fs::write(directory.path().join("file"), "").unwrap();
    fs::write(&file, text.replace(&data, &format!("{}/file/data", directory.path().display()))).unwrap();
    let (found, code) = examine(&directory);
    assert_eq!(code, 1, "{found}");
    assert_found(&found, "data directory", "error", "Not a directory");
    if Path::new("/dev/shm").is_dir() {
        fs::write(&file, text.replace(&data, "/dev/shm/oncemq-that-is-missing")).unwrap();
        let (found, code) = examine(&directory);
        assert_eq!(code, 1);
        assert_found(&found, "file system", "error", "in memory");
        assert!(!Path::new("/dev/shm/oncemq-that-is-missing").exists());
    }
}

#[test]
fn names_of_other_brokers_and_services_are_resolved() {
    let directory = configured(
        "[[bridges]]\nname = \"cloud\"\naddresses = [\"mqtt://nobody.invalid\", \"mqtt://192.0.2.1\"]\n\
         [[bridges.topics]]\nfilter = \"a\"\n\
         [[sinks]]\nname = \"alarms\"\ntype = \"webhook\"\nfilters = [\"a\"]\nurl = \"http://localhost:1/\"\n\
         allow_private_addresses = true\n",
    );
    let (found, code) = examine(&directory);
    assert_eq!((code, about(&found, "bridges and sinks").len()), (0, 2), "{found}");
    assert_found(&found, "bridges and sinks", "warning", "(bridge cloud)");
    assert_found(&found, "bridges and sinks", "ok", "localhost can be resolved (sink alarms)");
}

#[test]
fn certificates_are_judged_by_their_days() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = |days: u64, name: &str| {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now());
        parameters.not_before = (now - std::time::Duration::from_secs(400 * 86_400)).into();
        let end = now + std::time::Duration::from_secs(days * 86_400);
        parameters.not_after = (if days == 0 { now - std::time::Duration::from_secs(86_400) } else { end }).into();
        let key = rcgen::KeyPair::generate().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, parameters.self_signed(&key).unwrap().pem()).unwrap();
        let key_path = directory.path().join(format!("{name}.key"));
        fs::write(&key_path, key.serialize_pem()).unwrap();
        fs::set_permissions(&key_path, Permissions::from_mode(0o644)).unwrap();
        format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\ntransport = \"tls\"\ntls = {{ certificate = {path:?}, key = {key_path:?} }}\n"
        )
    };
    let listeners: String =
        [(0, "old"), (10, "near"), (300, "good")].map(|(days, name)| certificate(days, name)).concat();
    let configured = configured(&listeners);
    let (found, code) = examine(&configured);
    assert_eq!(code, 1, "{found}");
    assert_found(&found, "certificates", "error", "has expired");
    assert_found(&found, "certificates", "warning", "near expires in");
    assert_found(&found, "certificates", "ok", "good is valid for 2");
    assert_found(&found, "open to others", "warning", "old.key has the mode 0644");
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    let output = Command::new("date").arg("+%s").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn limits_of_the_machine_are_compared_with_the_settings() {
    let directory = configured("[limits]\nconnections_max = 5000\nmemory_max = \"1000GiB\"\n");
    let mut limited = Command::new("prlimit");
    limited.args(["--nofile=1024:1024", env!("CARGO_BIN_EXE_oncemq")]);
    let (found, code) = examined(limited, directory.path());
    assert_eq!(code, 1);
    assert_found(&found, "descriptors", "warning", "of limits.connections_max = 5000");
    assert_found(&found, "memory", "error", "limits.memory_max is 1000.0 GiB");
}
