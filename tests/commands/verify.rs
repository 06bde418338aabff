//! `oncemq verify`, with this broker and with some that lie.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Done, Running, oncemq, run, wait_for};

/// The options of a short run in a directory.
fn short(directory: &Path) -> [&str; 8] {
    ["verify", "--dir", directory.to_str().unwrap(), "--seconds", "6", "--rounds", "2", "--json"]
}

#[track_caller]
fn result(done: &Done) -> Value {
    serde_json::from_str(&done.output).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

fn is_empty(directory: &TempDir) -> bool {
    fs::read_dir(directory.path()).unwrap().count() == 0
}

/// A broker that has another level of durability than it is asked for.
fn liar(directory: &TempDir, asked: &str, has: &str) -> String {
    let script = format!(
        "#!/bin/sh\nfor word; do\n  shift\n  case \"$word\" in\n    {asked}) word={has};;\n  esac\n  set -- \"$@\" \"$word\"\ndone\nexec {:?} \"$@\"\n",
        env!("CARGO_BIN_EXE_oncemq")
    );
    executable(directory, &script)
}

fn executable(directory: &TempDir, script: &str) -> String {
    let path = directory.path().join("oncemq");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// The results of the waits of `--json`, by packet.
fn waits(result: &Value) -> Vec<(&str, &str)> {
    let waits = result["waits"].as_array().unwrap();
    waits.iter().map(|wait| (wait["packet"].as_str().unwrap(), wait["result"].as_str().unwrap())).collect()
}

#[test]
fn this_broker_passes_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let done = run(short(directory.path()));
    assert_eq!(done.code, 0, "{done:?}");
    let result = result(&done);
    assert_eq!(result["passed"], true);
    assert!((1..=2).contains(&result["crashes"]["kills"].as_u64().unwrap()), "{result}");
    assert!(result["crashes"]["acknowledged"].as_u64() > Some(0) && result["crashes"]["delivered"].as_u64() > Some(0));
    assert_eq!(result["crashes"]["fault"], Value::Null);
    let statements = result["statements"].as_array().unwrap();
    assert!(statements.len() >= 30 && statements.iter().all(|statement| statement["result"] == "passed"), "{result}");
    let levels: Vec<_> = result["costs"].as_array().unwrap().iter().map(|cost| cost["durability"].clone()).collect();
    assert_eq!(levels, ["power-loss", "crash", "none"]);
    assert!(result["sync"]["p50_seconds"].as_f64() > Some(0.0), "{result}");
    assert!(is_empty(&directory));
}

#[test]
fn a_broker_that_stores_nothing_is_found_at_its_first_kill() {
    let (directory, binary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = liar(&binary, "power-loss|crash", "none");
    let done = run([&short(directory.path())[..], &["--binary", &path]].concat());
    assert_eq!(done.code, 1, "{done:?}");
    let result = result(&done);
    assert_eq!((&result["passed"], &result["crashes"]["fault"]["kills"]), (&false.into(), &1.into()), "{result}");
    assert!(is_empty(&directory));
}

#[test]
fn a_broker_that_does_not_start_after_a_kill_is_a_fault() {
    let (directory, binary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *'--data crash'*) [ ! -e crash ] || {{ echo broken >&2; exit 5; }};; esac\nexec {:?} \"$@\"\n",
        env!("CARGO_BIN_EXE_oncemq")
    );
    let path = executable(&binary, &script);
    let done = run([&short(directory.path())[..], &["--binary", &path]].concat());
    assert_eq!(done.code, 1, "{done:?}");
    let result = result(&done);
    assert_eq!(result["crashes"]["fault"]["text"], "does not start again: broken", "{result}");
}

/// A kill does not show it, because the operating system has what was written. The disk of this test takes forty milliseconds for a sync.
#[test]
fn a_broker_that_does_not_sync_is_found_by_the_time_of_its_acknowledgements() {
    let slow = |binary: &str| {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
        command.args(["-e", "inject=fdatasync:delay_exit=40000", env!("CARGO_BIN_EXE_oncemq")]);
        command.args(short(directory.path())).args(["--binary", binary]);
        let done = Running::start(command).end();
        (done.code, result(&done))
    };
    let (code, honest) = slow(env!("CARGO_BIN_EXE_oncemq"));
    assert_eq!(code, 0, "{honest}");
    assert!(waits(&honest).iter().all(|(_, result)| *result == "passed"), "{honest}");
    let directory = tempfile::tempdir().unwrap();
    let (code, lying) = slow(&liar(&directory, "power-loss", "crash"));
    assert_eq!((code, &lying["crashes"]["fault"]), (1, &Value::Null), "{lying}");
    for packet in ["PUBACK", "PUBREC", "PUBCOMP", "PUBREL"] {
        assert!(waits(&lying).contains(&(packet, "failed")), "{packet}: {lying}");
    }
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = oncemq();
    command.args(["verify", "--dir", directory.path().to_str().unwrap()]);
    let command = Running::start(command);
    let root = directory.path().canonicalize().unwrap();
    let works_here = || {
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cwd"));
        processes.filter_map(|link| fs::read_link(link).ok()).any(|path| path.starts_with(&root))
    };
    wait_for("its broker", works_here);
    command.signal("-INT");
    let done = command.end();
    assert_eq!(done.code, 130, "{done:?}");
    assert!(done.errors.contains("interrupted") && done.output.is_empty(), "{done:?}");
    assert!(!works_here() && is_empty(&directory));
}

#[test]
fn what_keeps_it_from_running_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    run(["verify", "--dir", "/does/not/exist"]).failed(3, "/does/not/exist: No such file");
    run(["verify", "--dir", "/proc"]).failed(3, "/proc: ");
    run(["verify", "--dir", path, "--binary", "/bin/true"]).failed(3, "it is no OnceMQ");
    run(["verify", "--dir", path, "--binary", "/does/not/exist"]).failed(3, "/does/not/exist");
    run(["verify", "--dir", path, "--seconds", "1"]).failed(2, "5..=86400");
    run(["verify", "--config", "/does/not/exist"]).failed(2, "/does/not/exist");
    assert!(is_empty(&directory));
}

#[test]
fn a_file_system_without_room_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=20m tmpfs \"$1\" && exec \"$0\" verify --dir \"$1\"";
    command.args(["sh", "-c", script, env!("CARGO_BIN_EXE_oncemq"), directory.path().to_str().unwrap()]);
    Running::start(command).end().failed(3, "20.0 MiB free, and the checks need 96.0 MiB");
    assert!(is_empty(&directory));
}
