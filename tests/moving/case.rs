//! Runs a case with each broker, and judges it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use crate::broker::{self, Broker, Kind};
use crate::directory;
use crate::run::Run;
use crate::script::Script;
use crate::tree::Tree;

/// Runs the steps of a case with mosquitto and with OnceMQ at the same time; fails with all that was not as expected.
pub(crate) fn judge(name: &str) {
    let case = directory().join(name.replace('_', "-"));
    let script = Script::read(&case.join("steps"));
    let temporary = tempfile::tempdir().unwrap();
    let machines = temporary.path().join("machines");
    for machine in ["broker", "remote"].into_iter().filter(|machine| case.join(machine).exists()) {
        copy(&case.join(machine), &machines.join(machine));
    }
    let prepare = case.join("prepare.sh");
    if prepare.exists() {
        let output = Command::new("bash").arg("-eu").arg(&prepare).current_dir(&machines).output().unwrap();
        assert!(output.status.success(), "{}: {}", prepare.display(), String::from_utf8_lossy(&output.stderr));
    }
    let mut kinds = vec![Kind::Mosquitto, Kind::Direct, Kind::Imported];
    kinds.retain(|kind| match kind {
        _ if broker::is_left_out(*kind) => false,
        Kind::Mosquitto => !script.only_ours,
        Kind::Direct => true,
        Kind::Imported => script.imported,
    });
    let faults: String = thread::scope(|scope| {
        let (script, machines) = (&script, &machines);
        let runs: Vec<_> = kinds
            .iter()
            .map(|kind| (kind, scope.spawn(move || run(*kind, script, machines, &temporary_of(machines, *kind)))))
            .collect();
        let faults = runs.into_iter().map(|(kind, run)| match run.join() {
            Ok(faults) if faults.is_empty() => String::new(),
            Ok(faults) => format!("{kind:?}:\n{}\n", faults.join("\n")),
            Err(_) => format!("{kind:?}: it panicked, as is said above\n"),
        });
        faults.collect()
    });
    assert!(faults.is_empty(), "{name}\n{faults}");
}

fn run(kind: Kind, script: &Script, machines: &Path, directory: &Path) -> Vec<String> {
    let remote = machines.join("remote").exists().then(|| {
        let directory = directory.join("remote");
        let tree = Tree::copy(&machines.join("remote"), &directory.join("root"), &BTreeMap::new());
        let mut remote = Broker::new(Kind::Mosquitto, tree, &directory);
        assert_eq!(remote.start(), "runs", "the remote broker: {}", remote.log());
        remote
    });
    let none = BTreeMap::new();
    let ports = remote.as_ref().map_or(&none, |remote| &remote.tree.ports);
    let tree = Tree::copy(&machines.join("broker"), &directory.join("root"), ports);
    Run::new(Broker::new(kind, tree, directory), remote).perform(script)
}

fn temporary_of(machines: &Path, kind: Kind) -> std::path::PathBuf {
    machines.with_file_name(format!("{kind:?}").to_lowercase())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
