use std::io::Write;
use std::time::Duration;

use crate::config::{AllowAnonymous, Durability, Limits, Transport};

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The error of a file with this text, without the path of the file.
fn error_of(text: &str) -> String {
    let file = file(text);
    let error = load_layers(Some(file.path()), Vec::new()).unwrap_err().to_string();
    error.replace(&format!("{}:", file.path().display()), "")
}

fn set(origin: Origin, key: &str, value: &str) -> Override {
    Override { origin, change: Change::Setting(key.to_owned(), value.to_owned()) }
}

fn flag(key: &str, value: &str) -> Override {
    set(Origin::Flag("--set".to_owned()), key, value)
}

#[test]
fn no_file_and_no_override_is_the_default() {
    assert_eq!(load_layers(None, Vec::new()).unwrap().config, Config::default());
}

#[test]
fn a_file_sets_only_the_settings_it_contains() {
    let file = file("[limits]\nconnect_timeout = \"5s\"\nwrite_timeout = 7\nmaximum_packet_size = \"64KiB\"\n");
    let loaded = load_layers(Some(file.path()), Vec::new()).unwrap();
    let limits = Limits {
        connect_timeout: Duration::from_secs(5),
        write_timeout: Duration::from_secs(7),
        maximum_packet_size: 65_536,
        ..Limits::default()
    };
    assert_eq!(loaded.config, Config { limits, ..Config::default() });
    assert_eq!(loaded.origin("limits.write_timeout"), &Origin::File { path: file.path().to_owned(), line: 3 });
    assert_eq!(loaded.origin("limits.receive_maximum"), &Origin::Default);
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let file = file("[server]\nshards = 1\n[limits]\nsessions_max = 1\n[mqtt]\nretain_available = false\n");
    let environment = |key, value| set(Origin::Environment("ONCEMQ_X".to_owned()), key, value);
    let overrides =
        vec![environment("server.shards", "2"), environment("limits.sessions_max", "2"), flag("server.shards", "3")];
    let loaded = load_layers(Some(file.path()), overrides).unwrap();
    assert_eq!(loaded.config.server.shards, 3);
    assert_eq!(loaded.origin("server.shards"), &Origin::Flag("--set".to_owned()));
    assert_eq!(loaded.config.limits.sessions_max, 2);
    assert_eq!(loaded.origin("limits.sessions_max"), &Origin::Environment("ONCEMQ_X".to_owned()));
    assert!(!loaded.config.mqtt.retain_available);
}

#[test]
fn an_override_takes_every_kind_of_value() {
    let overrides = vec![
        flag("security.allow_anonymous", "true"),
        flag("server.durability", "crash"),
        flag("limits.session_expiry_max", "1h"),
        flag("limits.keep_alive_max", "60"),
        flag("limits.queued_bytes_max", "1048576"),
        flag("mqtt.maximum_qos", "1"),
        flag("mqtt.validate_payload_format", "false"),
        flag("mqtt.server_reference", "5"),
        flag("admin.address", "127.0.0.1:0"),
    ];
    let config = load_layers(None, overrides).unwrap().config;
    assert_eq!(config.security.allow_anonymous, AllowAnonymous::Always);
    assert_eq!(config.server.durability, Durability::Crash);
    assert_eq!(config.limits.session_expiry_max, Some(Duration::from_secs(3_600)));
    assert_eq!(config.limits.keep_alive_max, Some(Duration::from_secs(60)));
    assert_eq!(config.limits.queued_bytes_max, 1 << 20);
    assert_eq!(config.mqtt.maximum_qos, crate::codec::Qos::AtLeastOnce);
    assert!(!config.mqtt.validate_payload_format);
    assert_eq!(config.mqtt.server_reference.as_deref(), Some("5"));
    assert_eq!(config.admin.address.port(), 0);
}

#[test]
fn a_wrong_override_names_its_flag_and_the_nearest_valid_name() {
    let error = |key, value| load_layers(None, vec![flag(key, value)]).unwrap_err().to_string();
    assert_eq!(
        error("limits.conections_max", "1"),
        "flag --set: unknown key `limits.conections_max`; did you mean `limits.connections_max`?"
    );
    assert_eq!(
        error("server.durability", "powerloss"),
        "flag --set: `server.durability`: unknown variant `powerloss`, expected one of `power-loss`, `crash`, `none`; \
         did you mean `power-loss`?"
    );
    assert!(error("limits.receive_maximum", "0").contains("`limits.receive_maximum`: invalid value: integer `0`"));
    assert!(error("limits.receive_maximum", "many").contains("many"));
    assert!(error("limits.connect_timeout", "0").starts_with("flag --set: `limits.connect_timeout` must not be zero"));
}

#[test]
fn listeners_of_a_flag_replace_listeners_of_the_file() {
    let file = file("[[listeners]]\naddress = \"127.0.0.1:1\"\n[[listeners]]\naddress = \"127.0.0.1:2\"\n");
    let addresses = vec!["0.0.0.0:1883".to_owned(), "unix:/run/oncemq.sock".to_owned()];
    let listen = Override { origin: Origin::Flag("--listen".to_owned()), change: Change::Listeners(addresses) };
    let loaded = load_layers(Some(file.path()), vec![listen]).unwrap();
    let listeners = &loaded.config.listeners;
    assert_eq!(
        listeners.iter().map(|listener| listener.label()).collect::<Vec<_>>(),
        ["0.0.0.0:1883", "unix:/run/oncemq.sock"]
    );
    assert_eq!(listeners[1].transport, Transport::Unix);
    assert_eq!(loaded.origin("listeners[0].address"), &Origin::Flag("--listen".to_owned()));
}

#[test]
fn durability_rules_of_a_flag_replace_rules_of_the_file() {
    let file = file("[[durability_rules]]\ntopic = \"a\"\nlevel = \"crash\"\n");
    let rules = |rules: &[&str]| {
        let change = Change::DurabilityRules(rules.iter().map(|rule| (*rule).to_owned()).collect());
        vec![Override { origin: Origin::Flag("--durability-rule".to_owned()), change }]
    };
    let loaded = load_layers(Some(file.path()), rules(&["b/#=none", "c=power-loss"])).unwrap();
    let levels = loaded.config.durability_rules.iter().map(|rule| (rule.topic.as_str(), rule.level));
    assert_eq!(levels.collect::<Vec<_>>(), [("b/#", Durability::None), ("c", Durability::PowerLoss)]);
    assert_eq!(loaded.origin("durability_rules[1].level"), &Origin::Flag("--durability-rule".to_owned()));
    let error = |wrong| load_layers(None, rules(&[wrong])).unwrap_err().to_string();
    assert_eq!(
        error("$share/g/a=none"),
        "flag --durability-rule: `durability_rules[0].topic` is not a valid topic filter for a rule: a plain topic filter must not \
         begin with `$share/`"
    );
    assert!(error("a=loud").starts_with("flag --durability-rule: `durability_rules.level`: unknown variant `loud`"));
}

#[test]
fn listeners_of_the_file_replace_the_default_ones() {
    let file = file(
        "[[listeners]]\nname = \"sensors\"\naddress = \"[::]:8080\"\ntransport = \"ws\"\nproxy_protocol = \"v2\"\n",
    );
    let loaded = load_layers(Some(file.path()), Vec::new()).unwrap();
    assert_eq!(loaded.config.listeners.len(), 1);
    assert_eq!(loaded.config.listeners[0].transport, Transport::Ws);
    assert_eq!(loaded.config.listeners[0].label(), "sensors");
    let accepts = |path: &str| loaded.config.listeners[0].accepts_websocket_path(path);
    assert_eq!(["/mqtt", "/", "/ws", "/mqtt/", "/other", ""].map(accepts), [true, true, true, false, false, false]);
}

#[test]
fn a_configured_websocket_path_is_exact() {
    for (configured, expected) in [
        ("/mqtt", [true, false, false, false]),
        ("/", [false, true, false, false]),
        ("/broker", [false, false, false, true]),
        ("*", [true, true, true, true]),
    ] {
        let text =
            format!("[[listeners]]\naddress = \":8080\"\ntransport = \"ws\"\nwebsocket_path = \"{configured}\"\n");
        let loaded = load_layers(Some(file(&text).path()), Vec::new()).unwrap();
        let accepts = |path: &str| loaded.config.listeners[0].accepts_websocket_path(path);
        assert_eq!(["/mqtt", "/", "/ws", "/broker"].map(accepts), expected, "{configured}");
    }
}

#[test]
fn an_unknown_key_is_an_error_with_line_column_and_the_nearest_valid_key() {
    assert_eq!(
        error_of("[limits]\n  conections_max = 5\n"),
        "2:3: unknown key `limits.conections_max`; did you mean `connections_max`?"
    );
    assert_eq!(error_of("[limit]\n"), "1:2: unknown key `limit`; did you mean `limits`?");
    assert_eq!(
        error_of("[[listeners]]\naddress = \"127.0.0.1:1\"\ntransprot = \"tcp\"\n"),
        "3:1: unknown key `listeners[0].transprot`; did you mean `transport`?"
    );
    let error = error_of("[log]\nzzz = 1\n");
    assert!(error.contains("expected one of `level`, `format`, `clients`"), "{error}");
}

#[test]
fn a_bad_value_is_an_error_with_line_column_and_key() {
    let cases = [
        ("[limits]\nreceive_maximum = 0\n", "2:19: `limits.receive_maximum`: invalid value: integer `0`"),
        (
            "[limits]\nconnect_timeout = \"5 parsecs\"\n",
            "2:19: `limits.connect_timeout`: invalid value: string \"5 parsecs\"",
        ),
        ("[limits]\nmaximum_packet_size = \"8GiB\"\n", "2:23: `limits.maximum_packet_size`: invalid value"),
        ("[limits]\nsessions_max = -1\n", "2:16: `limits.sessions_max`: invalid value"),
        ("[mqtt]\nmaximum_qos = 3\n", "2:15: `mqtt.maximum_qos`: invalid value: integer `3`, expected 0, 1 or 2"),
        ("[security]\nallow_anonymous = \"yes\"\n", "2:19: `security.allow_anonymous`: invalid value"),
        (
            "[[listeners]]\naddress = \"127.0.0.1\"\n",
            "2:11: `listeners[0].address`: `127.0.0.1` is not a listener address: the port is missing",
        ),
        ("[[listeners]]\nname = \"a\"\n", "1:1: `listeners[0]`: missing field `address`"),
        ("[log]\nlevel = \"inof\"\n", "2:9: `log.level`: unknown variant `inof`"),
        ("[log]\nlevel = \n", "2:9: "),
        ("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", "3:1: "),
    ];
    for (text, expected) in cases {
        let error = error_of(text);
        assert!(error.starts_with(expected), "{error}\nexpected {expected}");
    }
    assert!(error_of("[log]\nlevel = \"inof\"\n").ends_with("did you mean `info`?"));
}

#[test]
fn contradicting_values_are_errors_with_their_lines() {
    let error = error_of("[[listeners]]\naddress = \"127.0.0.1:1\"\ntransport = \"tls\"\n[limits]\nsessions_max = 0\n");
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("5: `limits.sessions_max` must be at least 1"), "{error}");
    assert!(lines[1].contains("1: `listeners[0].tls` is missing"), "{error}");
}

#[test]
fn the_error_for_a_missing_file_names_it() {
    let error = load_layers(Some(Path::new("/does/not/exist.toml")), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("/does/not/exist.toml"), "{error}");
}

#[test]
fn the_shown_configuration_parses_to_the_same_values() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:1\"\nconnections_max = 5\nallow_anonymous = false\n\
                [limits]\nkeep_alive_max = \"1m\"\n[security]\nallow_anonymous = true\n";
    let file = file(text);
    for loaded in [load_layers(None, Vec::new()).unwrap(), load_layers(Some(file.path()), Vec::new()).unwrap()] {
        let shown = loaded.to_string();
        let read: Config = toml::from_str(&shown).unwrap();
        assert_eq!(read, loaded.config, "{shown}");
    }
}
