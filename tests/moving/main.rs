//! Moves in from mosquitto: configurations of the kinds that people publish, each under the real mosquitto and under OnceMQ, with
//! the same clients. What is accepted, refused and delivered must be what the case says, for both.
//!
//! A case is a directory of `cases/`: `broker/` is the file system of the machine (`broker/etc/mosquitto/mosquitto.conf`), `remote/` that
//! of the mosquitto behind a bridge, `prepare.sh` makes what must be valid today (certificates), and `steps` says who does what and
//! what comes of it ([`script`]). Ports and paths are replaced in a copy, and nothing else.
//!
//! `ONCEMQ_TEST_MOSQUITTO=PATH` runs another mosquitto (2.1; `ONCEMQ_TEST_MOSQUITTO_PLUGINS=DIRECTORY` has its plugins), and
//! `ONCEMQ_MOVING_ONLY=mosquitto` or `oncemq` judges one of them alone.

#![cfg(test)]

mod broker;
mod case;
mod client;
mod clock;
mod connecting;
mod run;
mod script;
mod tree;
mod websocket;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A test for each case, and their names.
macro_rules! cases {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                case::judge(stringify!($name));
            }
        )*
        const CASES: &[&str] = &[$(stringify!($name)),*];
    };
}

cases! {
    acl_tutorial
    aws_iot
    bridge_to_an_office
    certificate_and_password
    certificates_capath
    chirpstack
    clientid_prefixes
    default_listener
    dynamic_security
    files_with_faults
    frigate
    guarded_by_a_plugin
    home_assistant
    include_dir
    letsencrypt
    limits
    listener_alone
    mosquitto_1_4
    no_limits
    node_red
    openhabian
    persistence
    pre_shared_keys
    public_and_inner
    tasmota
    tenants
    things_stack
    tls_tutorial
    unix_socket
    username_as_clientid
    websockets_proxy
    zigbee2mqtt
}

#[test]
fn every_case_is_a_test() {
    let folders = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let tests = CASES.iter().map(|name| name.replace('_', "-"));
    assert_eq!(folders.collect::<BTreeSet<_>>(), tests.collect::<BTreeSet<_>>());
}

/// What differs between the two has a sentence for those who move in, and a step that shows it.
#[test]
fn every_difference_is_in_the_document() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = words(&fs::read_to_string(root.join("docs/MOVING.md")).unwrap());
    let differences = fs::read_to_string(root.join("tests/moving/differences")).unwrap();
    let known: BTreeMap<&str, &str> = differences.lines().map(|line| line.split_once(": ").unwrap()).collect();
    for (name, sentence) in &known {
        assert!(document.contains(&words(sentence)), "{name}: docs/MOVING.md lacks this sentence: {sentence}");
    }
    let mut shown = BTreeSet::new();
    for case in CASES {
        let script = script::Script::read(&directory().join(case.replace('_', "-")).join("steps"));
        for (step, difference) in script.steps.iter().filter_map(|step| Some((step, step.ours.as_ref()?))) {
            let name = known.get_key_value(difference.name.as_str());
            let (name, _) = name.unwrap_or_else(|| panic!("{case}, line {}: not in `differences`", step.line));
            shown.insert(*name);
        }
    }
    assert_eq!(shown, known.keys().copied().collect(), "each difference is shown by a step");
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moving/cases")
}
